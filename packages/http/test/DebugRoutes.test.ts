import { assert, describe, it } from "@effect/vitest"
import { Attempt, Budget, Hedge, Observer, PolicyLayer, Rego, Timeline } from "@rego/core"
import { DebugRoutes } from "@rego/http"
import { Effect, Layer, Option } from "effect"
import { HttpClient } from "effect/http"
import { createHash } from "node:crypto"
import { connect } from "node:net"
import { address, fill, hostile, server, timelines } from "./debugSupport.ts"
import { quietly } from "./support.ts"

const get = (path: string) =>
  Effect.gen(function*() {
    const { headers, status, text } = yield* HttpClient.get(path)
    return { headers, status, text: yield* text }
  })

/** What clients do not send of themselves. */
const raw = (url: string, request: string) =>
  Effect.promise(async () => {
    const socket = connect(Number(new URL(url).port), "localhost").end(request)
    let text = ""
    for await (const chunk of socket) text += String(chunk)
    return text
  })

/** A server with the calls of `debugSupport`, for one test. */
const filled = (options: Partial<DebugRoutes.Options> = {}) => {
  const recent = Observer.recent()
  return Layer.merge(server({ recent, ...options }), Layer.effectDiscard(fill(recent)))
}

/** The keys of the list, in its order. */
const keysIn = (html: string): ReadonlyArray<string> =>
  [...html.matchAll(/<td><a href="[\w./-]+">(?<key>[^<]*)<\/a>/g)].map(({ groups }) => groups?.["key"] ?? "")

const idsIn = (html: string): ReadonlyArray<string> =>
  [...html.matchAll(/<a href="rego\/(?<id>[\w-]+)">/g)].map(({ groups }) => groups?.["id"] ?? "")

const element = /<\/?(?<name>\w+)(?<attributes>(?: [\w-]+(?:="[^"<>]*")?)*)\/?>/g

/** Elements and attributes that run or load something, and characters that are no part of any element. */
const strangeIn = (html: string): ReadonlyArray<string> => {
  const elements = [...html.matchAll(element)].filter(({ groups }) =>
    /^(?:script|img|iframe|link|object|embed|base)$/i.test(groups?.["name"] ?? "") ||
    / (?:on\w+|style|src)(?:=|$)/i.test((groups?.["attributes"] ?? "").replaceAll(/="[^"]*"/g, "="))
  )
  const raw = html.replace("<!doctype html>", "").replaceAll(element, "")
  return [...elements.map(([text]) => text), ...raw.replaceAll("\n", "").match(/[<\p{Cc}\u202E]/gu) ?? []]
}

describe("DebugRoutes", () => {
  describe("the list", () => {
    it.effect("shows the latest calls first, how they ended and why", () =>
      Effect.gen(function*() {
        const { headers, status, text } = yield* get("/debug/rego")
        assert.strictEqual(status, 200)
        assert.match(headers["content-type"] ?? "", /^text\/html/)
        assert.deepStrictEqual(keysIn(text).slice(1), ["stock.Get", "prices.Get", "users.Get"])
        assert.include(text, "4 shown of 4 that have ended")
        assert.include(text, "budget_denied")
        assert.include(text, "StatusCode: 503")
      }).pipe(Effect.provide(filled())))

    const filters: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
      ["a part of the key", "?key=STOCK", ["stock.Get"]],
      ["the result", "?result=success", ["prices.Get", "users.Get"]],
      ["the duration", "?slower=500+millis&key=.Get", ["stock.Get"]],
      ["the duration in milliseconds", "?slower=400&result=success", ["prices.Get"]],
      ["slowest first", "?order=slowest&key=.Get", ["stock.Get", "prices.Get", "users.Get"]],
      ["how many attempts it took", "?attempts=2", ["prices.Get"]],
      ["fewer", "?key=.Get&limit=2", ["stock.Get", "prices.Get"]],
      ["an empty form", "?key=.get&result=&slower=&order=latest", ["stock.Get", "prices.Get", "users.Get"]]
    ]
    for (const [what, query, keys] of filters) {
      it.effect(`filters and sorts: ${what}`, () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(keysIn((yield* get(`/debug/rego${query}`)).text), keys)
          const { calls } = JSON.parse((yield* get(`/debug/rego.json${query}`)).text)
          assert.deepStrictEqual(calls.map(({ key }: { readonly key: string }) => key), keys)
        }).pipe(Effect.provide(filled())))
    }

    for (const query of ["?slower=soon", "?result=won", "?order=best", "?limit=zero", "?attempts=many"]) {
      it.effect(`says what is wrong with ${query}, and keeps what was typed`, () =>
        Effect.gen(function*() {
          const { status, text } = yield* get(`/debug/rego${query}&key=abc`)
          assert.strictEqual(status, 400)
          assert.match(text, /role="alert">(?:slower|result|order|limit|attempts) must be [^<]*, got &quot;\w+&quot;</)
          assert.include(text, `name="key" value="abc"`)
          assert.strictEqual((yield* get(`/debug/rego.json${query}`)).status, 400)
        }).pipe(Effect.provide(filled())))
    }

    it.effect("is text for a terminal: waterfalls, each with its id", () =>
      Effect.gen(function*() {
        const { headers, text } = yield* get("/debug/rego.txt?key=.Get&order=slowest")
        assert.match(headers["content-type"] ?? "", /^text\/plain/)
        const parts = text.trimEnd().split("\n\n")
        assert.deepStrictEqual(parts.map((part) => part.replace(/^[\w-]+ {2}/, "")), [
          Timeline.render(timelines[2]!),
          Timeline.render(timelines[1]!),
          Timeline.render(timelines[0]!)
        ])
        const id = parts[0]?.split(" ")[0]
        assert.strictEqual((yield* get(`/debug/rego/${id}.txt`)).text, `${parts[0]}\n`)
        assert.strictEqual((yield* get("/debug/rego.txt?limit=zero")).status, 400)
      }).pipe(Effect.provide(filled())))

    it.effect("is found with a slash at its end, without which its links are right", () =>
      Effect.gen(function*() {
        const url = yield* address
        const [id] = idsIn((yield* get("/debug/rego")).text)
        for (const path of ["/debug/rego/?key=stock", `/debug/rego/${id}/`]) {
          const response = yield* Effect.promise(() => fetch(url + path))
          assert.strictEqual(response.status, 200)
          assert.strictEqual(response.url, url + path.replace(/\/(?=\?|$)/, ""))
        }
      }).pipe(Effect.provide(filled())))

    it.effect("is filtered whatever the request calls its host", () =>
      Effect.gen(function*() {
        const text = yield* raw(
          yield* address,
          "GET /debug/rego?key=stock HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n"
        )
        assert.deepStrictEqual(keysIn(text), ["stock.Get"])
      }).pipe(Effect.provide(filled())))

    it.effect("says when nothing matches", () =>
      Effect.gen(function*() {
        assert.include((yield* get("/debug/rego?key=nobody")).text, "No call that is kept matches.")
      }).pipe(Effect.provide(filled())))

    it.effect("is no longer than it may be", () =>
      Effect.gen(function*() {
        assert.lengthOf(keysIn((yield* get("/debug/rego")).text), 2)
      }).pipe(Effect.provide(filled({ limit: 2 }))))
  })

  describe("one call", () => {
    it.effect("is a waterfall, with the list one link away", () =>
      Effect.gen(function*() {
        const [, , id] = idsIn((yield* get("/debug/rego")).text)
        const { status, text } = yield* get(`/debug/rego/${id}`)
        assert.strictEqual(status, 200)
        assert.include(text, Timeline.toSvg(timelines[1]!))
        assert.include(text, "(interrupted_loser)")
        assert.include(text, `<a href="../rego">`)
      }).pipe(Effect.provide(filled())))

    it.effect("is JSON that Timeline.fromJson reads, and a picture of its own", () =>
      Effect.gen(function*() {
        const [, , id] = idsIn((yield* get("/debug/rego")).text)
        const json = yield* get(`/debug/rego/${id}.json`)
        assert.deepStrictEqual(yield* Timeline.fromJson(JSON.parse(json.text)), timelines[1])
        const svg = yield* get(`/debug/rego/${id}.svg`)
        assert.strictEqual(svg.headers["content-type"], "image/svg+xml")
        assert.strictEqual(svg.text, Timeline.toSvg(timelines[1]!))
      }).pipe(Effect.provide(filled())))

    it.effect("is not found when it is not kept, however it is asked for", () =>
      Effect.gen(function*() {
        for (const path of ["0-0", "0-0.json", "0-0.txt", "0-0.svg", "%3Cscript%3E", "..%2f..", "a.b.json"]) {
          const { headers, status, text } = yield* get(`/debug/rego/${path}`)
          assert.strictEqual(status, 404, path)
          assert.notInclude(text, "<script")
          assert.include(headers["content-security-policy"], "default-src 'none'")
        }
      }).pipe(Effect.provide(filled())))
  })

  describe("what others wrote", () => {
    it.effect("is text, in every page and every answer", () =>
      Effect.gen(function*() {
        const id = (yield* get("/debug/rego")).text.match(/href="rego\/([\w-]+)">&quot;/)?.[1]
        const attack = encodeURIComponent(hostile)
        const paths = [
          "",
          `/${id}`,
          `/${id}.svg`,
          `?key=${attack}`,
          `?slower=${attack}`,
          `?result=${attack}`,
          `?order=${attack}`,
          `?limit=${attack}`,
          `?attempts=${attack}`
        ]
        for (const path of paths) {
          const { text } = yield* get(`/debug/rego${path}`)
          assert.include(text, "&lt;script&gt;document.title=", path)
          assert.deepStrictEqual(strangeIn(text), [], path)
        }
        const json = yield* get(`/debug/rego/${id}.json`)
        assert.match(json.headers["content-type"] ?? "", /^application\/json/)
        assert.strictEqual(json.headers["x-content-type-options"], "nosniff")
      }).pipe(Effect.provide(filled())))
  })

  describe("headers", () => {
    const hashOf = (style: string) => `'sha256-${createHash("sha256").update(style).digest("base64")}'`

    it.effect("allow the style sheets of the page by their hash, and nothing else", () =>
      Effect.gen(function*() {
        const [id] = idsIn((yield* get("/debug/rego?key=prices")).text)
        for (const path of ["", `/${id}`, `/${id}.svg`]) {
          const { headers, text } = yield* get(`/debug/rego${path}`)
          const policy = headers["content-security-policy"] ?? ""
          assert.match(
            policy,
            /^default-src 'none'; style-src [^;]+; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/
          )
          assert.notInclude(policy, "unsafe")
          const styles = [...text.matchAll(/<style>(?<style>[^<]*)<\/style>/g)]
          assert.isNotEmpty(styles)
          for (const { groups } of styles) assert.include(policy, hashOf(groups?.["style"] ?? ""), path)
        }
      }).pipe(Effect.provide(filled())))

    it.effect("let nobody store an answer, guess its type or learn where it was seen", () =>
      Effect.gen(function*() {
        for (const path of ["", ".json", ".txt", "/0-0", "/0-0.json"]) {
          const { headers } = yield* get(`/debug/rego${path}`)
          assert.strictEqual(headers["cache-control"], "no-store")
          assert.strictEqual(headers["x-content-type-options"], "nosniff")
          assert.strictEqual(headers["referrer-policy"], "no-referrer")
        }
      }).pipe(Effect.provide(filled())))
  })

  describe("the status of policies", () => {
    const Policies = quietly(
      PolicyLayer.make({
        policies: {
          "users.*": {
            hedge: { trigger: Hedge.after("10 millis") },
            budget: "one",
            idempotent: true
          }
        }
      }).pipe(Layer.provide(Budget.layer("one", Budget.tokenBucket({ capacity: 3, refillPerSecond: 0 }))))
    )
    const read = Effect.flatMap(
      Attempt.CurrentAttempt,
      Option.match({ onNone: () => Effect.void, onSome: ({ hedge }) => hedge === 0 ? Effect.never : Effect.void })
    )

    it.live("shows what is in force, and what budgets and hedges of the keys do", () => {
      const recent = Observer.recent()
      const App = server({ recent }).pipe(Layer.provideMerge(Layer.merge(Policies, Observer.layer([recent]))))
      return Effect.gen(function*() {
        yield* read.pipe(Rego.resilient("users.Get"))
        yield* Observer.flush
        const { text } = yield* get("/debug/rego")
        assert.include(text, "<pre>policy local\n</pre>")
        assert.match(text, /<td>users\.Get<\/td><td>one<\/td><td class="number">2<\/td><td class="number">1<\/td>/)
      }).pipe(Effect.provide(App))
    })

    it.effect("is left out where there are no policies", () =>
      Effect.gen(function*() {
        assert.notInclude((yield* get("/debug/rego")).text, "<h2>Policies")
      }).pipe(Effect.provide(filled())))
  })

  describe("layer", () => {
    it.effect("serves under another path, and nothing under the usual one", () =>
      Effect.gen(function*() {
        const { text } = yield* get("/ops/calls")
        assert.match(text, /href="calls\/[\w-]+"/)
        assert.strictEqual((yield* get("/debug/rego")).status, 404)
      }).pipe(Effect.provide(filled({ path: "/ops/calls" }))))

    it("refuses a path and a limit that are none", () => {
      const recent = Observer.recent()
      for (const path of ["/", "/a/", "/:id", "/a b", "/*"] as const) {
        assert.throws(() => DebugRoutes.layer({ recent, path }), RangeError, "path must be like")
      }
      for (const limit of [0, 1.5, NaN]) {
        assert.throws(() => DebugRoutes.layer({ recent, limit }), RangeError, "limit must be an integer from 1")
      }
    })
  })
})
