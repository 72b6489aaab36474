import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, PolicyLayer, Rego, RegoError, Timeline } from "@rego/core"
import type { Policy, PolicyProvider } from "@rego/core"
import { HttpClassifier, HttpKey, HttpRego, ResilientFetch } from "@rego/http"
import { Deferred, Effect, Layer, Logger, ManagedRuntime } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { getEventListeners } from "node:events"
import { answers, eventually, nobody, serve } from "./fetchServer.ts"
import type { Arrival } from "./support.ts"
import { policiesOf } from "./support.ts"

const policies = (policy: Policy.Input = {}) =>
  policiesOf({ retry: { maxAttempts: 3, backoff: Backoff.none }, timeout: { overall: "4 seconds" }, ...policy })

interface Wrapped extends AsyncDisposable {
  readonly fetch: ResilientFetch.Fetch
  /** how often an attempt was handed to the host's `fetch` */
  readonly attempts: () => number
}

/** The host's own `fetch`, counted, under a policy. */
const wrap = (policy: Policy.Input = {}, options: ResilientFetch.Options = {}): Wrapped => {
  let attempts = 0
  const runtime = ManagedRuntime.make(policies(policy))
  const counted: ResilientFetch.Fetch = (input, init) => {
    attempts++
    return (options.fetch ?? fetch)(input, init)
  }
  return {
    fetch: ResilientFetch.make(runtime, { ...options, fetch: counted }),
    attempts: () => attempts,
    [Symbol.asyncDispose]: () => runtime.dispose()
  }
}

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(() => assert.fail("was not rejected"), (error: unknown) => error)

const codeOf = (error: unknown): unknown => {
  assert.instanceOf(error, TypeError)
  return (error as { readonly cause?: { readonly code?: unknown } }).cause?.code
}

const reasonOf = (error: unknown): string => {
  assert.instanceOf(error, RegoError.RegoError)
  return (error as RegoError.RegoError).reason._tag
}

/**
 * Counts the timers of ten seconds and more that hold the process: nobody but the policies of these tests asks for them.
 */
const watchTimers = (): Disposable & { readonly pending: () => number } => {
  const { clearTimeout, setTimeout } = globalThis
  const pending = new Set<NodeJS.Timeout>()
  globalThis.setTimeout = ((f: () => void, millis: number, ...rest: []) => {
    const timer = setTimeout(f, millis, ...rest)
    if (millis >= 10_000) pending.add(timer)
    return timer
  }) as typeof setTimeout
  globalThis.clearTimeout = (timer) => {
    pending.delete(timer as NodeJS.Timeout)
    clearTimeout(timer)
  }
  return {
    pending: () => [...pending].filter((timer) => timer.hasRef()).length,
    [Symbol.dispose]: () => Object.assign(globalThis, { clearTimeout, setTimeout })
  }
}

describe("ResilientFetch", () => {
  describe("responses", () => {
    it("is the response of the attempt that won, and a web response", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap()
      const response = await wrapped.fetch(`${server.url}/users/1`)
      assert.instanceOf(response, Response)
      assert.strictEqual(response.url, `${server.url}/users/1`)
      assert.strictEqual(await response.text(), "answer 1 is 200")
      assert.strictEqual(server.arrivals.length, 2)
    })

    it("is the last one when there is no further attempt, and can be read", async () => {
      await using server = await serve(answers(503))
      await using wrapped = wrap()
      const response = await wrapped.fetch(server.url)
      assert.strictEqual(response.status, 503)
      assert.strictEqual(await response.text(), "answer 2 is 503")
      assert.strictEqual(server.arrivals.length, 3)
    })

    it("is any other status at once", async () => {
      for (const status of [204, 304, 400, 404, 501]) {
        await using server = await serve((_, response) => response.writeHead(status).end())
        await using wrapped = wrap()
        assert.strictEqual((await wrapped.fetch(server.url)).status, status)
        assert.strictEqual(server.arrivals.length, 1)
      }
    })

    it("comes to its end: 1 MiB in slow chunks, with hedges beside it", { timeout: 20_000 }, async () => {
      const chunk = "x".repeat(64 * 1_024)
      await using server = await serve((_, response, index) => {
        response.writeHead(200)
        let left = 16
        const timer = setInterval(() => {
          response.write(chunk)
          if (--left > 0) return
          clearInterval(timer)
          response.end()
        }, index % 3 === 0 ? 4 : 1)
        response.once("close", () => clearInterval(timer))
      })
      await using wrapped = wrap({ hedge: { trigger: Hedge.after("1 millis"), maxFailing: 1 } })
      for (let i = 0; i < 20; i++) {
        const response = await wrapped.fetch(server.url)
        assert.strictEqual((await response.text()).length, 16 * chunk.length)
      }
      assert.isAbove(wrapped.attempts(), 20)
      await eventually("the losers are gone", () => server.cancelled() > 0)
    })

    it("that are not returned are let go, however long their body", async () => {
      await using server = await serve((_, response, index) => {
        response.writeHead(index === 0 ? 503 : 200)
        if (index > 0) return response.end("well")
        const timer = setInterval(() => response.write("x".repeat(16 * 1_024)), 1)
        response.once("close", () => clearInterval(timer))
      })
      await using wrapped = wrap()
      assert.strictEqual(await (await wrapped.fetch(server.url)).text(), "well")
      await eventually("the first answer is cancelled", () => server.arrivals[0]!.cancelled)
    })

    it("follow the hints of the server, and never come earlier than it asked", async () => {
      const at: Array<number> = []
      await using server = await serve((_, response, index) => {
        at.push(performance.now())
        response.writeHead(index === 0 ? 429 : 200, { "retry-after-ms": "80" }).end()
      })
      await using wrapped = wrap()
      assert.strictEqual((await wrapped.fetch(server.url)).status, 200)
      // timers of the two sides are rounded apart
      assert.isAtLeast(at[1]! - at[0]!, 79)
    })

    it("end the call when the server asks for more time than there is", async () => {
      await using server = await serve((_, response) => response.writeHead(503, { "retry-after": "86400" }).end())
      await using wrapped = wrap()
      assert.strictEqual((await wrapped.fetch(server.url)).status, 503)
      assert.strictEqual(server.arrivals.length, 1)
    })
  })

  describe("rejections", () => {
    it("are the error of fetch itself, after the attempts that the policy allows", async () => {
      const url = await nobody()
      const errors: Array<unknown> = []
      await using wrapped = wrap({}, {
        fetch: (input, init) =>
          fetch(input, init).catch((error: unknown) => {
            errors.push(error)
            throw error
          })
      })
      const error = await rejection(wrapped.fetch(url))
      assert.strictEqual(codeOf(error), "ECONNREFUSED")
      assert.strictEqual(errors.length, 3)
      assert.strictEqual(error, errors[2])
    })

    it("carry the timelines of their call", async () => {
      const url = await nobody()
      await using wrapped = wrap()
      const timelines = ResilientFetch.timelinesOf(await rejection(wrapped.fetch(url)))
      assert.deepStrictEqual(timelines.map((it) => it.attempts.length), [3])
      assert.include(timelines.map(Timeline.render).join(), "attempts_exhausted")
      assert.deepStrictEqual(ResilientFetch.timelinesOf(new Error("another one")), [])
      assert.deepStrictEqual(ResilientFetch.timelinesOf("no error"), [])
    })

    it("are a RegoError where no attempt has an outcome", async () => {
      await using server = await serve(() => {})
      await using slow = wrap({ timeout: { perAttempt: "50 millis" } })
      assert.strictEqual(reasonOf(await rejection(slow.fetch(server.url))), "AttemptTimedOut")
      assert.strictEqual(slow.attempts(), 3)
      await using late = wrap({ timeout: { overall: "50 millis" } })
      assert.strictEqual(reasonOf(await rejection(late.fetch(server.url))), "DeadlineExceeded")
      assert.strictEqual(late.attempts(), 1)
      await eventually("what has arrived is cancelled", () => server.arrivals.every(({ cancelled }) => cancelled))
    })

    it("are a RegoError where the policy layer wants to know every key", async () => {
      await using server = await serve(answers(200))
      const runtime = ManagedRuntime.make(
        PolicyLayer.make({ policies: {}, onMissing: "fail" }).pipe(Layer.provideMerge(Logger.layer([])))
      )
      const error = await rejection(ResilientFetch.make(runtime)(server.url))
      assert.strictEqual(reasonOf(error), "PolicyMissing")
      assert.strictEqual(server.arrivals.length, 0)
      await runtime.dispose()
    })

    it("say of bad arguments what fetch says, and nothing is sent", async () => {
      await using server = await serve(answers(200))
      await using wrapped = wrap()
      const used = new Request(server.url, { method: "PUT", body: "once" })
      await used.text()
      const bad: ReadonlyArray<readonly [string | Request, RequestInit?]> = [
        ["no url"],
        [server.url, { method: "GET", body: "x" }],
        [server.url, { method: "a method" }],
        [server.url, { headers: { "a header": "x" } }],
        [server.url, { redirect: "sometimes" as "follow" }],
        [used],
        [new Request(server.url, { method: "PUT", body: "x" }), { method: "GET" }]
      ]
      for (const [input, init] of bad) {
        const error = await rejection(wrapped.fetch(input, init))
        assert.instanceOf(error, TypeError)
        assert.deepStrictEqual(ResilientFetch.timelinesOf(error), [], "there is no call")
        assert.instanceOf(await rejection(globalThis.fetch(input, init)), TypeError)
      }
      assert.strictEqual(wrapped.attempts(), 0)
    })

    it("are the error of the policy layer when it cannot be built", async () => {
      const runtime = ManagedRuntime.make(PolicyLayer.fromDocument({ policies: 1 }))
      const error = await rejection(ResilientFetch.make(runtime)("http://127.0.0.1:1/"))
      assert.strictEqual((error as { readonly _tag?: unknown })._tag, "PolicyInvalid")
      await runtime.dispose()
    })

    it("are an AbortError when the runtime is closed during the call", async () => {
      await using server = await serve(() => {})
      const wrapped = wrap()
      const error = rejection(wrapped.fetch(server.url))
      await eventually("the request has arrived", () => server.arrivals.length === 1)
      await wrapped[Symbol.asyncDispose]()
      assert.strictEqual((await error as DOMException).name, "AbortError")
      await eventually("the request is cancelled", () => server.cancelled() === 1)
    })
  })

  describe("which requests are sent again", () => {
    it("a POST that the server has seen is not, whatever it answers", async () => {
      await using server = await serve(answers(503))
      await using wrapped = wrap()
      assert.strictEqual((await wrapped.fetch(server.url, { method: "POST", body: "x" })).status, 503)
      assert.strictEqual(server.arrivals.length, 1)
    })

    it("a POST that took too long arrives once", async () => {
      await using server = await serve(() => {})
      await using wrapped = wrap({ timeout: { perAttempt: "300 millis" } })
      assert.strictEqual(reasonOf(await rejection(wrapped.fetch(server.url, { method: "POST" }))), "AttemptTimedOut")
      assert.strictEqual(wrapped.attempts(), 1)
      assert.strictEqual(server.arrivals.length, 1)
    })

    it("a POST that nobody accepted is", async () => {
      const url = await nobody()
      await using wrapped = wrap()
      assert.strictEqual(codeOf(await rejection(wrapped.fetch(url, { method: "POST", body: "x" }))), "ECONNREFUSED")
      assert.strictEqual(wrapped.attempts(), 3)
    })

    it("a POST with an Idempotency-Key is, with the same key and the same body", async () => {
      await using server = await serve(answers(503, 503, 201))
      await using wrapped = wrap()
      const headers = [["Idempotency-Key", "order-17"], ["X-Two", "a"], ["X-Two", "b"]] as Array<[string, string]>
      const response = await wrapped.fetch(server.url, { method: "POST", body: "pay", headers })
      assert.strictEqual(response.status, 201)
      assert.deepStrictEqual(
        server.arrivals.map(({ body, headers }) => [body, headers["idempotency-key"], headers["x-two"]]),
        [["pay", "order-17", "a, b"], ["pay", "order-17", "a, b"], ["pay", "order-17", "a, b"]]
      )
    })

    it("the headers of a request count as those of the init", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap()
      const request = new Request(server.url, { method: "POST", headers: { "Idempotency-Key": "order-18" } })
      assert.strictEqual((await wrapped.fetch(request)).status, 200)
      assert.strictEqual((await wrapped.fetch(request, { method: "PUT" })).status, 200)
    })

    it("what arrives is what fetch would have sent", async () => {
      await using server = await serve(answers(200))
      await using wrapped = wrap()
      const calls: ReadonlyArray<readonly [string | Request, RequestInit?]> = [
        [`${server.url}/a?b=c#d`],
        [server.url, { method: "put", body: new URLSearchParams({ a: "1" }) }],
        [server.url, { method: "PATCH", body: "text", headers: new Headers({ "X-One": "1" }) }],
        [new Request(server.url, { method: "DELETE", body: "text" }), { headers: { "x-one": "2" } }]
      ]
      for (const [input, init] of calls) {
        const copy = typeof input === "string" ? input : input.clone()
        await (await fetch(copy, init)).text()
        await (await wrapped.fetch(input, init)).text()
        const [native, ours] = server.arrivals.slice(-2).map(({ body, headers, method, path }) => ({
          body,
          headers,
          method,
          path
        }))
        assert.deepStrictEqual(ours, native)
      }
    })
  })

  describe("bodies", () => {
    const bodies: Readonly<Record<string, () => NonNullable<RequestInit["body"]>>> = {
      "a text": () => "body",
      "bytes": () => new TextEncoder().encode("body"),
      "a buffer": () => new TextEncoder().encode("body").buffer,
      "a blob": () => new Blob(["body"]),
      "parameters": () => new URLSearchParams({ body: "" })
    }
    for (const [what, body] of Object.entries(bodies)) {
      it(`${what} is sent with each attempt`, async () => {
        await using server = await serve(answers(503, 200))
        await using wrapped = wrap()
        assert.strictEqual((await wrapped.fetch(server.url, { method: "PUT", body: body() })).status, 200)
        assert.deepStrictEqual(server.arrivals.map(({ body }) => body.replace("=", "")), ["body", "body"])
      })
    }

    it("a form is sent with each attempt, whole", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap()
      const body = new FormData()
      body.set("file", new Blob(["content"]), "a.txt")
      assert.strictEqual((await wrapped.fetch(server.url, { method: "PUT", body })).status, 200)
      for (const { body, headers } of server.arrivals) {
        const form = await new Response(body, { headers: { "content-type": headers["content-type"]! } }).formData()
        assert.strictEqual(await (form.get("file") as File).text(), "content")
      }
      assert.strictEqual(server.arrivals.length, 2)
    })

    it("a stream is sent once, whatever the method says", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap({ hedge: { trigger: Hedge.after("1 millis") }, idempotent: true })
      const body = new Blob(["body"]).stream()
      const response = await wrapped.fetch(server.url, { method: "PUT", body, duplex: "half" } as RequestInit)
      assert.strictEqual(response.status, 503)
      assert.deepStrictEqual(server.arrivals.map(({ body }) => body), ["body"])
    })

    it("an iterable is sent once", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap()
      const body = (async function*() {
        yield new TextEncoder().encode("body")
      })()
      const init = { method: "PUT", body, duplex: "half" } as unknown as RequestInit
      assert.strictEqual((await wrapped.fetch(server.url, init)).status, 503)
      assert.deepStrictEqual(server.arrivals.map(({ body }) => body), ["body"])
    })

    it("the body of a request is sent with each attempt, and is used up afterwards", async () => {
      await using server = await serve(answers(503, 503, 200))
      await using wrapped = wrap()
      const request = new Request(server.url, { method: "PUT", body: "body" })
      assert.strictEqual((await wrapped.fetch(request)).status, 200)
      assert.deepStrictEqual(server.arrivals.map(({ body }) => body), ["body", "body", "body"])
      assert.isTrue(request.bodyUsed)
      assert.instanceOf(await rejection(wrapped.fetch(request)), TypeError)
      assert.strictEqual(server.arrivals.length, 3)
    })

    it("the body of the init replaces that of the request, which is left alone", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap()
      const request = new Request(server.url, { method: "PUT", body: "of the request" })
      assert.strictEqual((await wrapped.fetch(request, { body: "of the init" })).status, 200)
      assert.deepStrictEqual(server.arrivals.map(({ body }) => body), ["of the init", "of the init"])
      assert.isFalse(request.bodyUsed)
    })
  })

  describe("options", () => {
    it("are those of HttpRego: the server is told which attempt this is", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap({}, { headers: { attempt: "X-Attempt", deadline: "X-Deadline" } })
      await wrapped.fetch(server.url, { method: "PUT", headers: { "X-Own": "1", "X-Attempt": "0" }, body: "body" })
      const rows = server.arrivals.map(({ body, headers }) => [headers["x-attempt"], headers["x-own"], body])
      assert.deepStrictEqual(rows, [["1", "1", "body"], ["2", "1", "body"]])
      for (const { headers } of server.arrivals) {
        const left = Number(headers["x-deadline"])
        assert.isTrue(left > 0 && left <= 4_000, `${left}`)
      }
    })

    it("an attempt may go to another server, and without a header", async () => {
      await using first = await serve(answers(503))
      await using second = await serve(answers(200))
      const mapAttempt: ResilientFetch.Options["mapAttempt"] = (request, { retry }) =>
        retry === 0 ? request : request.pipe(
          HttpClientRequest.setUrl(`${second.url}/elsewhere`),
          HttpClientRequest.removeHeader("x-first")
        )
      await using wrapped = wrap({}, { mapAttempt })
      const headers = { "X-First": "1", "X-Own": "1" }
      const calls: ReadonlyArray<readonly [string | URL | Request, RequestInit?]> = [
        [`${first.url}/a?b=c`, { method: "PUT", body: "body", headers }],
        [new URL(`${first.url}/a?b=c`), { method: "PUT", body: new Blob(["body"]), headers }],
        [new Request(`${first.url}/a?b=c`, { method: "PUT", body: "body", headers })]
      ]
      const row = ({ body, headers, method, path }: Arrival) => [
        method,
        path,
        body,
        headers["x-first"],
        headers["x-own"]
      ]
      for (const [input, init] of calls) {
        assert.strictEqual((await wrapped.fetch(input, init)).status, 200)
        assert.deepStrictEqual(row(first.arrivals.at(-1)!), ["PUT", "/a?b=c", "body", "1", "1"])
        assert.deepStrictEqual(row(second.arrivals.at(-1)!), ["PUT", "/elsewhere", "body", undefined, "1"])
      }
      assert.deepStrictEqual([first.arrivals.length, second.arrivals.length], [3, 3])
    })

    it("the key is the host and the method unless another is named", async () => {
      const url = await nobody()
      const keyOf = async (options: ResilientFetch.Options) => {
        await using wrapped = wrap({}, options)
        return ResilientFetch.timelinesOf(await rejection(wrapped.fetch(`${url}/users/17`))).map(({ key }) => key)
      }
      assert.deepStrictEqual(await keyOf({}), [`${new URL(url).host}.GET`])
      assert.deepStrictEqual(await keyOf({ key: "users.Get" }), ["users.Get"])
      const routes = HttpKey.routes({ "GET /users/:id": "users.ById" })
      assert.deepStrictEqual(await keyOf({ key: routes }), ["users.ById"])
    })

    it("a body that is said to be the same each time is sent with each attempt", async () => {
      await using server = await serve(answers(503, 200))
      const chunks = {
        async *[Symbol.asyncIterator]() {
          yield new TextEncoder().encode("body")
        }
      }
      await using wrapped = wrap({}, { replayable: true })
      const init = { method: "PUT", body: chunks, duplex: "half" } as unknown as RequestInit
      assert.strictEqual((await wrapped.fetch(server.url, init)).status, 200)
      assert.deepStrictEqual(server.arrivals.map(({ body }) => body), ["body", "body"])
    })

    it("that are none are refused when the function is made, as HttpRego refuses them", () => {
      const runtime = ManagedRuntime.make(PolicyLayer.defaults)
      assert.throws(() => ResilientFetch.make(runtime, { key: "users.Get.1048576" }), RangeError)
    })

    it("the runtime may be the context of a program", async () => {
      await using server = await serve(answers(503, 200))
      const program = Effect.gen(function*() {
        const runFork = Effect.runForkWith(yield* Effect.context<PolicyProvider.PolicyProvider>())
        const resilientFetch = ResilientFetch.make({ runFork })
        return yield* Effect.promise(() => resilientFetch(server.url))
      })
      const response = await Effect.runPromise(program.pipe(Effect.provide(policies())))
      assert.strictEqual(response.status, 200)
    })
  })

  describe("the signal", () => {
    it("that has fired already keeps everything from being sent", async () => {
      await using server = await serve(answers(200))
      await using wrapped = wrap()
      const reason = new Error("not wanted")
      assert.strictEqual(await rejection(wrapped.fetch(server.url, { signal: AbortSignal.abort(reason) })), reason)
      const aborted = new Request(server.url, { signal: AbortSignal.abort(reason) })
      assert.strictEqual(await rejection(wrapped.fetch(aborted)), reason)
      assert.strictEqual(wrapped.attempts(), 0)
      assert.strictEqual((await wrapped.fetch(aborted, { signal: null })).status, 200)
    })

    it("ends an attempt at once, with its reason, and the server hears of it", async () => {
      await using server = await serve(() => {})
      await using wrapped = wrap()
      const controller = new AbortController()
      const error = rejection(wrapped.fetch(server.url, { signal: controller.signal }))
      await eventually("the request has arrived", () => server.arrivals.length === 1)
      const reason = new Error("not wanted any more")
      controller.abort(reason)
      const nextTurn = new Promise((resolve) => setImmediate(() => resolve("a turn of the event loop later")))
      assert.strictEqual(await Promise.race([error, nextTurn]), reason)
      await eventually("the request is cancelled", () => server.cancelled() === 1)
    })

    it("ends a wait at once, and no attempt follows", async () => {
      await using server = await serve(answers(503))
      await using wrapped = wrap({
        retry: { backoff: Backoff.constant("20 seconds", { jitter: "none" }) },
        timeout: { perAttempt: "5 seconds", overall: "30 seconds" }
      })
      using timers = watchTimers()
      const controller = new AbortController()
      const error = rejection(wrapped.fetch(server.url, { signal: controller.signal }))
      await eventually("the call waits", () => timers.pending() === 1)
      controller.abort()
      assert.strictEqual(timers.pending(), 0)
      assert.strictEqual(await error, controller.signal.reason)
      assert.strictEqual(server.arrivals.length, 1)
    })

    it("that fires by itself gives its TimeoutError", async () => {
      await using server = await serve(() => {})
      await using wrapped = wrap()
      const error = await rejection(wrapped.fetch(server.url, { signal: AbortSignal.timeout(20) }))
      assert.strictEqual((error as DOMException).name, "TimeoutError")
      assert.isAtMost(wrapped.attempts(), 1)
    })

    it("of a request counts, unless the init has one", async () => {
      await using server = await serve(() => {})
      await using wrapped = wrap()
      const [one, other] = [new AbortController(), new AbortController()]
      const request = new Request(server.url, { signal: one.signal })
      const error = rejection(wrapped.fetch(request))
      const second = rejection(wrapped.fetch(request, { signal: other.signal }))
      await eventually("both have arrived", () => server.arrivals.length === 2)
      one.abort(new Error("one"))
      assert.strictEqual((await error as Error).message, "one")
      await eventually("the first is cancelled", () => server.cancelled() === 1)
      other.abort(new Error("other"))
      assert.strictEqual((await second as Error).message, "other")
    })

    it("ends the body of the response too", async () => {
      await using server = await serve((_, response) => {
        response.writeHead(200)
        response.write("the beginning")
      })
      await using wrapped = wrap()
      const controller = new AbortController()
      const response = await wrapped.fetch(server.url, { signal: controller.signal })
      const error = rejection(response.text())
      const reason = new Error("read enough")
      controller.abort(reason)
      assert.strictEqual(await error, reason)
      await eventually("the server hears of it", () => server.cancelled() === 1)
    })

    it("is honoured at once where an attempt does not hear of it", async () => {
      let sent = 0
      await using wrapped = wrap({}, { fetch: () => new Promise(() => sent++) })
      const controller = new AbortController()
      const error = rejection(wrapped.fetch("http://users.test/", { signal: controller.signal }))
      await eventually("it is sent", () => sent === 1)
      controller.abort()
      assert.strictEqual(await error, controller.signal.reason)
    })

    it("is honoured when the first attempt itself makes it fire", async () => {
      const controller = new AbortController()
      await using wrapped = wrap({}, {
        fetch: () => {
          controller.abort()
          return new Promise(() => {})
        }
      })
      const { signal } = controller
      assert.strictEqual(await rejection(wrapped.fetch("http://users.test/", { signal })), signal.reason)
      assert.strictEqual(wrapped.attempts(), 1)
    })

    it("of the first call does not end the start of the runtime, which others wait for", async () => {
      await using server = await serve(answers(200))
      const started = Deferred.makeUnsafe<void>()
      const slow = Layer.effectDiscard(Deferred.await(started))
      const runtime = ManagedRuntime.make(policies().pipe(Layer.provide(slow)))
      const resilientFetch: typeof fetch = ResilientFetch.make(runtime)
      const controller = new AbortController()
      const error = rejection(resilientFetch(server.url, { signal: controller.signal }))
      const other = resilientFetch(server.url)
      controller.abort()
      assert.strictEqual(await error, controller.signal.reason)
      Deferred.doneUnsafe(started, Effect.void)
      assert.strictEqual((await other).status, 200)
      assert.strictEqual(server.arrivals.length, 1)
      await runtime.dispose()
    })

    it("has no listener of a call that is over", async () => {
      await using server = await serve(answers(503, 200))
      await using wrapped = wrap()
      const { signal } = new AbortController()
      assert.strictEqual((await wrapped.fetch(server.url, { signal })).status, 200)
      await rejection(wrapped.fetch(await nobody(), { signal }))
      assert.strictEqual(getEventListeners(signal, "abort").length, 0)
    })

    it("can be that of many calls", async () => {
      await using server = await serve(answers(200))
      await using wrapped = wrap()
      const warnings: Array<Error> = []
      const onWarning = (warning: Error) => warnings.push(warning)
      process.on("warning", onWarning)
      const { signal } = new AbortController()
      await Promise.all(Array.from({ length: 50 }, async () => (await wrapped.fetch(server.url, { signal })).text()))
      await new Promise((resolve) => setImmediate(resolve))
      process.off("warning", onWarning)
      assert.deepStrictEqual(warnings, [])
    })
  })

  describe("inside of a call", () => {
    const busy = () => Promise.resolve(new Response(null, { status: 503 }))
    const reset = () => Promise.reject(new TypeError("fetch failed", { cause: { code: "ECONNRESET" } }))
    const final = () => Promise.resolve(new Response(null, { status: 404 }))

    /** Three attempts outside, and the policy of `wrap` inside. */
    const around = (inner: ResilientFetch.Fetch) =>
      Effect.tryPromise({ try: () => inner("http://users.test/"), catch: (error) => error }).pipe(
        Rego.resilient("outer.Call", { idempotent: true, classifier: HttpClassifier.http }),
        Timeline.capture,
        Effect.provide(policies()),
        Effect.map(([, timelines]) => timelines.at(-1)!.attempts.map(({ outcome, reason }) => `${outcome} ${reason}`)),
        Effect.runPromise
      )

    for (const [what, send] of Object.entries({ busy, reset })) {
      it(`what was retried already is not retried again: 3 requests, not 9 (${what})`, async () => {
        await using wrapped = wrap({}, { fetch: send })
        assert.deepStrictEqual(await around(wrapped.fetch), ["NonRetryable retried_below"])
        assert.strictEqual(wrapped.attempts(), 3)
      })

      it(`what was not is (${what})`, async () => {
        await using wrapped = wrap({ retry: "off" }, { fetch: send })
        assert.strictEqual((await around(wrapped.fetch)).length, 3)
        assert.strictEqual(wrapped.attempts(), 3)
      })
    }

    it("an answer is what it is", async () => {
      await using wrapped = wrap({}, { fetch: final })
      assert.deepStrictEqual(await around(wrapped.fetch), ["NonRetryable http_404"])
    })

    it("the error of one is known to a client of HttpRego that is made of it", async () => {
      await using wrapped = wrap({}, { fetch: reset })
      const Fetch = Layer.succeed(FetchHttpClient.Fetch, wrapped.fetch as typeof fetch)
      const program = Effect.gen(function*() {
        const client = HttpRego.resilient(yield* HttpClient.HttpClient)
        yield* Effect.exit(client.get("http://users.test/"))
      })
      await Effect.runPromise(program.pipe(
        Effect.provide([policies(), FetchHttpClient.layer.pipe(Layer.provide(Fetch))])
      ))
      assert.strictEqual(wrapped.attempts(), 3)
    })
  })

  describe("after 1,000 cancelled calls", () => {
    it("no timer and no socket is left", { timeout: 20_000 }, async () => {
      // the pool behind Node's fetch, with sockets that do not stay for the next call
      const { constructor: Agent } = Reflect.get(globalThis, Symbol.for("undici.globalDispatcher.1"))
      const dispatcher = new Agent({ keepAliveTimeout: 1, keepAliveMaxTimeout: 1 })
      await using server = await serve((_, response, index) => {
        if (index % 2 === 0) response.writeHead(503).end()
      })
      using timers = watchTimers()
      await using wrapped = wrap({
        retry: { backoff: Backoff.constant("15 seconds", { jitter: "none" }) },
        timeout: { overall: "20 seconds", perAttempt: "15 seconds" }
      })
      for (let round = 0; round < 20; round++) {
        const controller = new AbortController()
        const { signal } = controller
        const init = { signal, dispatcher } as RequestInit
        const seen = server.arrivals.length
        const errors = Array.from({ length: 50 }, () => rejection(wrapped.fetch(server.url, init)))
        await eventually("half of them wait", () => server.arrivals.length === seen + 50 && timers.pending() >= 25)
        controller.abort()
        for (const error of await Promise.all(errors)) assert.strictEqual(error, signal.reason)
      }
      // the caller is answered first, and the call ends then
      await eventually("its timers are gone", () => timers.pending() === 0)
      await eventually("its sockets are gone", () => server.connections.open === 0)
      assert.strictEqual(server.arrivals.length, 1_000)
    })
  })
})
