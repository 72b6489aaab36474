/**
 * Pages for whoever is on call: the recent calls of this process as a list, each as a waterfall, and the policies in force.
 * For the `HttpRouter` of an application; nothing is served until the application mounts it.
 *
 * **Details**
 *
 * | request | what it answers with |
 * | --- | --- |
 * | `GET /debug/rego` | the list: a page without script. `?key=`, `?result=`, `?slower=`, `?order=slowest` filter and sort it |
 * | | `?attempts=2` shows those that were retried or hedged, `?limit=` fewer |
 * | `GET /debug/rego.json`, `/debug/rego.txt` | the same as JSON, and as waterfalls for a terminal, with the same parameters |
 * | `GET /debug/rego/:id` | one call: its waterfall, and what was decided |
 * | `GET /debug/rego/:id.json`, `.txt`, `.svg` | its timeline as `Timeline.fromJson` reads it; its waterfall |
 *
 * What it shows is what `Observer.recent` keeps. Where a `PolicyLayer` is provided as well, it shows the policies in force,
 * and the budgets and hedges of the keys that it lists.
 *
 * Everything is escaped, and a strict `Content-Security-Policy` allows no script, no request and no frame.
 *
 * **Gotchas**
 *
 * Who may see it is for the application to say: keys, error messages and policies are not for everybody. Put a middleware in
 * front, as the example does, or serve it on a port of its own that only operators reach.
 *
 * **Example** (Mounting the pages behind a token)
 *
 * ```ts
 * import { Observer, PolicyLayer, Rego } from "@rego/core"
 * import { DebugRoutes } from "@rego/http"
 * import { Effect, Layer } from "effect"
 * import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
 *
 * // In a real application: from the configuration, compared in constant time.
 * const token = "Bearer operators-only-0123456789"
 *
 * const ForOperators = HttpRouter.middleware((page) =>
 *   Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
 *     headers["authorization"] === token ? page : Effect.succeed(HttpServerResponse.empty({ status: 401 })))
 * ).layer
 *
 * const recent = Observer.recent({ capacity: 500, slowerThan: "5 millis" })
 *
 * const Services = Layer.merge(PolicyLayer.defaults, Observer.layer([recent]))
 * const App = DebugRoutes.layer({ recent }).pipe(Layer.provide(ForOperators), Layer.provideMerge(Services))
 *
 * const { dispose, handler } = HttpRouter.toWebHandler(App, { disableLogger: true })
 * const statusOf = async (headers: Record<string, string>) =>
 *   (await handler(new Request("http://localhost/debug/rego", { headers }))).status
 *
 * await statusOf({}) // => 401
 * await statusOf({ authorization: token }) // => 200
 * await dispose()
 * ```
 *
 * @since 0.1.0
 */
import type { Observer } from "@rego/core"
import { PolicyProvider, Timeline } from "@rego/core"
import { Duration, Effect, Layer, Option } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import * as DebugPage from "./DebugPage.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * What is shown, and where.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** what keeps the calls; it must be among the observers of the application, or the list stays empty */
  readonly recent: Observer.Recent
  /** where the list is. Default `"/debug/rego"` */
  readonly path?: `/${string}` | undefined
  /** calls on one page, from 1. Default 200 */
  readonly limit?: number | undefined
}

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

// -----------------------------------------------------------------------------
// headers
// -----------------------------------------------------------------------------

/** What a Content-Security-Policy calls a style sheet that it allows. */
const hashOf = (style: string): Effect.Effect<string> =>
  Effect.promise(async () => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(style))
    return `'sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}'`
  })

/** Neither stored nor guessed at, and nothing in it may load, run or frame anything. */
const headersWith = (styles: ReadonlyArray<string>): Record<string, string> => ({
  "content-security-policy": `default-src 'none'; style-src ${
    styles.join(" ")
  }; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cross-origin-resource-policy": "same-origin"
})

// -----------------------------------------------------------------------------
// what a request says
// -----------------------------------------------------------------------------

/** Of a parameter that came twice the first counts. */
const query = Effect.map(HttpServerRequest.ParsedSearchParams, (params): DebugPage.Query => {
  const get = (name: keyof DebugPage.Query) => [params[name]].flat()[0] ?? ""
  return {
    key: get("key"),
    result: get("result"),
    slower: get("slower").trim(),
    order: get("order") || "latest",
    attempts: get("attempts"),
    limit: get("limit")
  }
})

/** The links of a page are relative to a path without a slash at its end: whoever typed one is sent there. */
const withoutSlash = (name: string, request: Request): Response | undefined => {
  const [path = "", search] = request.url.split("?", 2)
  if (!path.endsWith("/")) return undefined
  return HttpServerResponse.redirect(`../${name}${search === undefined ? "" : `?${search}`}`, {
    status: 308,
    headers: headersWith(["'none'"])
  })
}

/** A bare number is milliseconds. */
const durationOf = (text: string): Option.Option<Duration.Duration> =>
  Duration.fromInput((/^\d+(?:\.\d+)?$/.test(text) ? Number(text) : text) as Duration.Input)

const isResult = (text: string): text is Timeline.Timeline["result"] =>
  text === "success" || text === "failure" || text === "defect" || text === "interrupted"

/** Empty for one that was not given. */
const isCount = (text: string): boolean => /^(?:[1-9]\d{0,5})?$/.test(text)

/** The filter, or what is wrong with it. */
const filterOf = (
  { attempts, key, limit, order, result, slower }: DebugPage.Query,
  maxLimit: number
): Observer.RecentFilter | string => {
  const slowerThan = slower === "" ? Option.some(Duration.zero) : durationOf(slower)
  if (Option.isNone(slowerThan)) return `slower must be a duration such as "250 millis", got ${JSON.stringify(slower)}`
  if (result !== "" && !isResult(result)) {
    return `result must be one of those in the list, got ${JSON.stringify(result)}`
  }
  if (order !== "latest" && order !== "slowest") return `order must be latest or slowest, got ${JSON.stringify(order)}`
  if (!isCount(attempts)) return `attempts must be an integer from 1, got ${JSON.stringify(attempts)}`
  if (!isCount(limit)) return `limit must be an integer from 1, got ${JSON.stringify(limit)}`
  return {
    key,
    order,
    slowerThan: slowerThan.value,
    minAttempts: Number(attempts),
    limit: Math.min(Number(limit === "" ? maxLimit : limit), maxLimit),
    ...result === "" ? {} : { result }
  }
}

// -----------------------------------------------------------------------------
// what is shown
// -----------------------------------------------------------------------------

const maxKeys = 100

const policyProvider = Effect.serviceOption(PolicyProvider.PolicyProvider)

const statusOf = Effect.fnUntraced(function*(
  provider: Option.Option<PolicyProvider.PolicyProvider["Service"]>,
  calls: ReadonlyArray<Observer.RecentCall>
) {
  if (Option.isNone(provider)) return undefined
  const names = [...new Set(calls.map(({ timeline }) => timeline.key))].toSorted().slice(0, maxKeys)
  const keys = yield* Effect.forEach(names, provider.value.statistics)
  return { policy: yield* provider.value.status, keys: keys.flatMap(Option.toArray) }
})

const inJson = ({ id, timeline }: Observer.RecentCall) => ({ id, ...Timeline.toJson(timeline) })

const inText = ({ id, timeline }: Observer.RecentCall): string => `${id}  ${Timeline.render(timeline)}`

// -----------------------------------------------------------------------------
// routes
// -----------------------------------------------------------------------------

const make = Effect.fnUntraced(function*({ limit = 200, path = "/debug/rego", recent }: Options) {
  const name = path.slice(path.lastIndexOf("/") + 1)
  const [pageStyle, svgStyle] = [yield* hashOf(DebugPage.style), yield* hashOf(Timeline.svgStyle)]
  const pageHeaders = headersWith([pageStyle, svgStyle])
  // a layer may be given to the routes, or to the server around them
  const given = yield* policyProvider
  const provider = Effect.map(policyProvider, Option.orElse(() => given))

  const page = (html: string, status = 200): Response =>
    HttpServerResponse.html(html).pipe(
      HttpServerResponse.setHeaders(pageHeaders),
      HttpServerResponse.setStatus(status)
    )
  const json = (body: unknown, status = 200): Response =>
    HttpServerResponse.jsonUnsafe(body, { status, headers: headersWith(["'none'"]) })
  const text = (body: string, status = 200): Response =>
    HttpServerResponse.text(body, { status, headers: headersWith(["'none'"]) })

  const find = Effect.gen(function*() {
    const asked = yield* query
    const filter = filterOf(asked, limit)
    const calls = typeof filter === "string" ? [] : yield* recent.calls(filter)
    return { query: asked, problem: typeof filter === "string" ? filter : undefined, calls, seen: yield* recent.seen }
  })

  const list = Effect.fnUntraced(function*(request: Request) {
    const moved = withoutSlash(name, request)
    if (moved !== undefined) return moved
    const found = yield* find
    const html = DebugPage.listPage({ ...found, name, status: yield* statusOf(yield* provider, found.calls) })
    return page(html, found.problem === undefined ? 200 : 400)
  })

  const listJson = Effect.gen(function*() {
    const { calls, problem, seen } = yield* find
    return problem === undefined ? json({ seen, calls: calls.map(inJson) }) : json({ problem }, 400)
  })

  const listText = Effect.gen(function*() {
    const { calls, problem } = yield* find
    return problem === undefined ? text(`${calls.map(inText).join("\n\n")}\n`) : text(`${problem}\n`, 400)
  })

  const shown = (call: Observer.RecentCall, format: string | undefined): Response => {
    switch (format) {
      case ".json":
        return json(inJson(call))
      case ".txt":
        return text(`${inText(call)}\n`)
      case ".svg":
        return HttpServerResponse.text(Timeline.toSvg(call.timeline), {
          contentType: "image/svg+xml",
          headers: headersWith([svgStyle])
        })
      default:
        return page(DebugPage.callPage(name, call))
    }
  }

  const one = Effect.fnUntraced(function*(request: Request) {
    const { id = "" } = yield* HttpRouter.params
    const moved = withoutSlash(encodeURIComponent(id), request)
    if (moved !== undefined) return moved
    const { format, plain = "" } = /^(?<plain>[\w-]+)(?<format>\.json|\.svg|\.txt)?$/.exec(id)?.groups ?? {}
    return Option.match(yield* recent.find(plain), {
      onNone: () =>
        format === ".json" ? json({ problem: "no such call" }, 404) : page(DebugPage.missingPage(name), 404),
      onSome: (call) => shown(call, format)
    })
  })

  return [
    HttpRouter.route("GET", path, list),
    HttpRouter.route("GET", `${path}.json`, listJson),
    HttpRouter.route("GET", `${path}.txt`, listText),
    HttpRouter.route("GET", `${path}/:id`, one)
  ]
})

const check = (options: Options): Options => {
  const { limit = 1, path = "/debug/rego" } = options
  if (!/^(?:\/[\w.~-]+)+$/.test(path)) {
    throw new RangeError(`DebugRoutes: path must be like "/debug/rego", got ${JSON.stringify(path)}`)
  }
  if (!Number.isInteger(limit) || limit < 1) {
    throw new RangeError(`DebugRoutes: limit must be an integer from 1, got ${limit}`)
  }
  return options
}

/**
 * The routes, for `HttpRouter.serve`. Throws a `RangeError` for options out of range.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<never, never, HttpRouter.HttpRouter> =>
  HttpRouter.addAll(make(check(options)))
