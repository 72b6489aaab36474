import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Config, Context, Data, Effect, Exit, Layer, Pipeable, Stream } from "effect"
import type { Line } from "./support.ts"
import { assertDiesWith, assertFailsWith, fails, script, succeeds, under } from "./support.ts"

const boom = new Error("boom")

const policies = PolicyLayer.make({
  policies: {
    "*": {
      retry: { maxAttempts: 3, backoff: Backoff.none },
      timeout: { perAttempt: "1 minute", overall: "10 minutes" },
      budget: "unlimited"
    }
  }
})

/** The keys of all calls that an effect makes, with the number of their attempts. */
const callsOf = <A, E, R>(self: Effect.Effect<A, E, R>, log?: Array<Line>) =>
  Timeline.capture(self).pipe(
    Effect.map(([exit, timelines]) => ({
      exit,
      calls: timelines.map(({ attempts, key }) => [key, attempts.length] as const)
    })),
    (captured) => under(captured, policies, log ?? [])
  )

const keysOf = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.map(callsOf(self), ({ calls }) => calls.map(([key]) => key))

/** An effect that fails twice and then succeeds, again and again. */
const flaky = <A>(value: A) => {
  let runs = 0
  return Effect.suspend(() => ++runs % 3 === 0 ? Effect.succeed(value) : Effect.fail(boom))
}

describe("Rego.resilientService", () => {
  describe("a method", () => {
    it.effect("is called once, and its effect runs once for each attempt", () =>
      Effect.gen(function*() {
        const calls: Array<ReadonlyArray<unknown>> = []
        const service = Rego.resilientService({
          get: (...args: ReadonlyArray<unknown>) => {
            calls.push(args)
            return flaky(args)
          }
        }, { namespace: "users" })
        const { calls: made, exit } = yield* callsOf(service.get("ada", 2))
        assert.deepStrictEqual(exit, Exit.succeed(["ada", 2]))
        assert.deepStrictEqual(calls, [["ada", 2]])
        assert.deepStrictEqual(made, [["users.get", 3]])
      }))

    it.effect("fails with the error of the service when the call gives up", () =>
      Effect.gen(function*() {
        const s = script(fails(boom))
        const service = Rego.resilientService({ get: () => s.effect }, { namespace: "users" })
        assertFailsWith((yield* callsOf(service.get())).exit, boom)
        assert.strictEqual(s.runs, 3)
      }))

    it.effect("is observed even when it answers at once", () =>
      Effect.gen(function*() {
        const service = Rego.resilientService({ get: () => Effect.succeed(1) }, { namespace: "users" })
        assert.deepStrictEqual(yield* keysOf(service.get()), ["users.get"])
      }))

    it("throws what it throws", () => {
      const service = Rego.resilientService(
        {
          get: (): Effect.Effect<number> => {
            throw boom
          }
        },
        { namespace: "users" }
      )
      assert.throws(() => service.get(), "boom")
    })

    it.effect("works when it is taken from the service", () =>
      Effect.gen(function*() {
        const { get } = Rego.resilientService(new Counter(), { namespace: "counter" })
        assert.deepStrictEqual((yield* callsOf(get())).exit, Exit.succeed(1))
      }))
  })

  describe("an effect", () => {
    it.effect("is a call each time it runs", () =>
      Effect.gen(function*() {
        const s = script(succeeds(1))
        const { size } = Rego.resilientService({ size: s.effect }, { namespace: "users" })
        assert.strictEqual(s.runs, 0)
        const { calls } = yield* callsOf(Effect.all([size, size]))
        assert.deepStrictEqual(calls, [["users.size", 1], ["users.size", 1]])
      }))
  })

  describe("a group", () => {
    const make = () =>
      Rego.resilientService(
        {
          users: { get: () => flaky("ada"), size: flaky(3), name: "users", deeper: { get: () => flaky(1) } },
          settings: { retries: 3 }
        },
        { namespace: "api" }
      )

    it.effect("adds its name to the key", () =>
      Effect.gen(function*() {
        const { users } = make()
        const { calls, exit } = yield* callsOf(Effect.all([users.get(), users.size]))
        assert.deepStrictEqual(exit, Exit.succeed(["ada", 3]))
        assert.deepStrictEqual(calls, [["api.users.get", 3], ["api.users.size", 3]])
        assert.strictEqual(users.name, "users")
      }))

    it.effect("does not reach into a group inside it", () =>
      Effect.gen(function*() {
        assertFailsWith((yield* callsOf(make().users.deeper.get())).exit, boom)
      }))

    it("is no object without methods", () => {
      const settings = { retries: 3, inner: { describe: () => "x" } }
      assert.strictEqual(Rego.resilientService({ settings }, { namespace: "api" }).settings, settings)
    })
  })

  describe("leaves alone", () => {
    class Tag extends Context.Service<Tag, number>()("Tag") {}
    class Missing extends Data.TaggedError("Missing") {}
    const hidden = Symbol("hidden")
    const stream = Stream.make(1)
    const typed = { "~some/TypeId": 1, get: () => Effect.succeed(1) }
    const marked = { [hidden]: 1, get: () => Effect.succeed(1) }
    const members = {
      url: "http://localhost",
      date: new Date(0),
      map: new Map(),
      list: [Effect.succeed(1)],
      nothing: null,
      stream,
      tag: Tag,
      error: new Missing(),
      typed,
      marked,
      instance: new (class Other {
        get = () => Effect.succeed(1)
      })(),
      [hidden]: () => Effect.succeed(1)
    }
    const view = Rego.resilientService(members, { namespace: "x" })

    for (const name of Reflect.ownKeys(members) as ReadonlyArray<keyof typeof members>) {
      it(`a member such as ${String(name)}`, () => {
        assert.strictEqual(view[name], members[name])
      })
    }

    const results = {
      stream: () => stream,
      promise: () => Promise.resolve(1),
      value: () => 42,
      curried: () => () => Effect.succeed(1),
      missing: () => new Missing(),
      tag: () => Tag
    }
    const called = Rego.resilientService(results, { namespace: "x" })
    for (const name of Object.keys(results) as ReadonlyArray<keyof typeof results>) {
      it(`what a method returns, such as a ${name}`, async () => {
        const [expected, result] = [results[name](), called[name]()]
        if (name === "curried") return assert.isFunction(result)
        if (name === "missing") return assert.instanceOf(result, Missing)
        assert.deepStrictEqual(await result, await expected)
      })
    }

    it.effect("a Config, which is an effect, is a call like others", () =>
      Effect.gen(function*() {
        const { port } = Rego.resilientService({ port: Config.succeed(80) }, { namespace: "x" })
        assert.deepStrictEqual(yield* keysOf(port), ["x.port"])
      }))
  })

  describe("a class", () => {
    it.effect("has its prototype, private fields, getters and setters", () =>
      Effect.gen(function*() {
        const counter = new Counter()
        const view = Rego.resilientService(counter, { namespace: "counter" })
        assert.instanceOf(view, Counter)
        assert.strictEqual(view.constructor, Counter)
        assert.deepStrictEqual(yield* keysOf(view.get()), ["counter.get"])
        assert.strictEqual(view.count, 1)
        view.count = 7
        assert.strictEqual(counter.count, 7)
        assert.strictEqual(view.describe(), "7")
      }))

    it.effect("has inherited methods, and one layer of retries for methods that call each other", () =>
      Effect.gen(function*() {
        const view = Rego.resilientService(new Twice(), { namespace: "counter" })
        assert.deepStrictEqual(yield* keysOf(view.twice()), ["counter.twice"])
        assert.deepStrictEqual(yield* keysOf(view.get()), ["counter.get"])
      }))

    it.effect("keeps `this` in methods that are left alone", () =>
      Effect.gen(function*() {
        const view = Rego.resilientService(new Counter(), { namespace: "counter", except: ["get"] })
        assert.deepStrictEqual(yield* keysOf(Effect.andThen(view.get(), view.get())), [])
        assert.strictEqual(view.count, 2)
      }))

    it.effect("asks a getter each time, and not before", () =>
      Effect.gen(function*() {
        let asked = 0
        const view = Rego.resilientService({
          get now() {
            asked++
            return Effect.succeed(asked)
          }
        }, { namespace: "clock" })
        assert.deepStrictEqual(Object.keys(view), ["now"])
        assert.strictEqual(asked, 0)
        const { calls, exit } = yield* callsOf(Effect.all([view.now, view.now]))
        assert.deepStrictEqual(exit, Exit.succeed([1, 2]))
        assert.deepStrictEqual(calls, [["clock.now", 1], ["clock.now", 1]])
      }))

    it("can be piped, and its classes made", () => {
      class Made {
        readonly value = 1
      }
      class Piped extends Pipeable.Class {
        readonly Made = Made
      }
      const view = Rego.resilientService(new Piped(), { namespace: "x" })
      assert.strictEqual(view.pipe((self) => self), view)
      assert.instanceOf(new view.Made(), Made)
    })
  })

  describe("a view", () => {
    it("has the same member each time, until the service has another one", () => {
      const service: { get: () => Effect.Effect<number>; group: { get: () => Effect.Effect<number> } } = {
        get: () => Effect.succeed(1),
        group: { get: () => Effect.succeed(1) }
      }
      const view = Rego.resilientService(service, { namespace: "x" })
      const { get } = view
      assert.strictEqual(view.get, get)
      assert.strictEqual(view.group, view.group)
      assert.strictEqual(view.group.get, view.group.get)
      service.get = () => Effect.succeed(2)
      assert.notStrictEqual(view.get, get)
    })

    it("can be listed, spread, asked and changed like the service", () => {
      const service: Record<string, unknown> = { get: () => Effect.succeed(1), url: "x" }
      const view: Record<string, unknown> = Rego.resilientService(service, { namespace: "x" })
      assert.deepStrictEqual(Object.keys(view), ["get", "url"])
      assert.deepStrictEqual({ ...view }, { get: view["get"], url: "x" })
      assert.deepStrictEqual(["get" in view, "other" in view], [true, false])
      assert.strictEqual(Object.getOwnPropertyDescriptor(view, "get")?.value, view["get"])
      view["url"] = "y"
      delete view["get"]
      Object.defineProperty(view, "more", { value: 1, configurable: true })
      assert.deepStrictEqual([Object.keys(service), service["url"], service["more"]], [["url"], "y", 1])
    })

    it("changes nothing in the service", () => {
      const get = () => Effect.succeed(1)
      const service = Object.freeze({ get })
      Rego.resilientService(service, { namespace: "x" }).get()
      assert.strictEqual(service.get, get)
    })

    const locks: ReadonlyArray<readonly [string, <T extends object>(it: T) => Readonly<T>]> = [
      ["frozen", Object.freeze],
      ["sealed", Object.seal]
    ]
    for (const [what, freeze] of locks) {
      it.effect(`wraps a service that is ${what}`, () =>
        Effect.gen(function*() {
          const view = Rego.resilientService(freeze({ get: () => flaky(1), group: freeze({ get: () => flaky(2) }) }), {
            namespace: "x"
          })
          assert.deepStrictEqual(yield* keysOf(Effect.all([view.get(), view.group.get()])), ["x.get", "x.group.get"])
          assert.deepStrictEqual(Object.keys(view), ["get", "group"])
          assert.isFunction({ ...view }.get)
        }))
    }

    it.effect("wraps a client that is a proxy and cannot be listed", () =>
      Effect.gen(function*() {
        const client = new Proxy({} as Record<string, (n: number) => Effect.Effect<string, Error>>, {
          get: (_, tag) => typeof tag === "string" ? (n: number) => flaky(`${tag} ${n}`) : undefined
        })
        const view = Rego.resilientService(client, { namespace: "rpc" })
        const { calls, exit } = yield* callsOf(Effect.all([view["Get"]!(1), view["Put"]!(2)]))
        assert.deepStrictEqual(exit, Exit.succeed(["Get 1", "Put 2"]))
        assert.deepStrictEqual(calls, [["rpc.Get", 3], ["rpc.Put", 3]])
      }))

    it("remembers a bounded number of members", () => {
      const get = () => Effect.succeed(1)
      const client = new Proxy({} as Record<string, typeof get>, { get: () => get })
      const view = Rego.resilientService(client, { namespace: "rpc" })
      const again = (n: number) => view[`Method${n}`] === view[`Method${n}`]
      assert.strictEqual(Array.from({ length: 2_000 }, (_, n) => again(n)).filter(Boolean).length, 1_000)
    })

    it.effect("wraps what Layer.mock makes, and its unimplemented methods die as they do", () =>
      Effect.gen(function*() {
        class Users extends Context.Service<Users, {
          readonly get: () => Effect.Effect<string, Error>
          readonly list: () => Effect.Effect<string>
        }>()("Users") {}
        const mock = Context.get(yield* Layer.build(Layer.mock(Users, { get: () => flaky("ada") })), Users)
        const view = Rego.resilientService(mock, { namespace: "users" })
        assert.deepStrictEqual((yield* callsOf(view.get())).exit, Exit.succeed("ada"))
        const { exit } = yield* callsOf(view.list())
        assert.include(String(exit), "Unimplemented method \"list\"")
      }))
  })

  describe("keys", () => {
    const service = { $get: () => Effect.succeed(1), get: () => Effect.succeed(1), g: { get: () => Effect.succeed(1) } }

    it.effect("can be given for single methods, by a record or a function", () =>
      Effect.gen(function*() {
        const named = Rego.resilientService(service, {
          namespace: "x",
          keys: { get: "users.Get", "g.get": "users.GroupGet" }
        })
        assert.deepStrictEqual(yield* keysOf(Effect.all([named.get(), named.g.get()])), ["users.Get", "users.GroupGet"])
        const computed = Rego.resilientService(service, {
          namespace: "x",
          keys: (name) => name === "get" ? undefined : `y.${name.toUpperCase()}`
        })
        assert.deepStrictEqual(yield* keysOf(Effect.all([computed.get(), computed.g.get()])), ["x.get", "y.G.GET"])
      }))

    it.effect("are not looked up in the prototype of a record", () =>
      Effect.gen(function*() {
        const service: Record<string, () => Effect.Effect<number>> = { valueOf: () => Effect.succeed(1) }
        const view = Rego.resilientService(service, { namespace: "x", keys: { get: "y.Get" }, idempotent: {} })
        assert.deepStrictEqual(yield* keysOf(view["valueOf"]!()), ["x.valueOf"])
      }))

    it.effect("that are not valid never fail a call: it runs under the overflow key, with one warning", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const { $get } = Rego.resilientService(service, { namespace: "x" })
        const { calls } = yield* callsOf(Effect.all([$get(), $get()]), log)
        assert.deepStrictEqual(calls, [["x._overflow", 1], ["x._overflow", 1]])
        assert.strictEqual(log.filter((line) => JSON.stringify(line).includes("x.$get")).length, 1)
      }))
  })

  describe("idempotent", () => {
    const services = () => ({
      get: () => flaky(1),
      users: { get: () => flaky(2), put: () => flaky(3) },
      put: () => flaky(4)
    })
    type Options = Omit<Rego.ServiceOptions<Rego.MethodName<ReturnType<typeof services>>>, "only" | "except">

    const attemptsWith = (options: Pick<Options, "idempotent">) =>
      Effect.gen(function*() {
        const view = Rego.resilientService(services(), { namespace: "x", ...options })
        const each = Effect.forEach([view.get(), view.users.get(), view.users.put(), view.put()], Effect.exit)
        return (yield* callsOf(each)).calls.map(([, attempts]) => attempts)
      })

    const rows: ReadonlyArray<readonly [string, Options["idempotent"], ReadonlyArray<number>]> = [
      ["unstated", undefined, [3, 3, 3, 3]],
      ["true", true, [3, 3, 3, 3]],
      ["false", false, [1, 1, 1, 1]],
      ["a record", { put: false, "users.put": false }, [3, 3, 1, 1]],
      ["a record with a group, and an exception in it", { users: false, "users.get": true }, [3, 3, 1, 3]],
      ["a function", (name) => !name.endsWith("put"), [3, 3, 1, 1]]
    ]
    for (const [what, idempotent, expected] of rows) {
      it.effect(`${what} → ${expected.join(", ")} attempts`, () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* attemptsWith({ idempotent }), expected)
        }))
    }
  })

  describe("a function among the options that throws", () => {
    const throws = (): never => {
      throw new Error("boom")
    }
    const service = () => ({ get: () => flaky("ada"), users: { get: () => flaky("bob") } })
    const defects = (log: ReadonlyArray<Line>) =>
      log.filter(({ level }) => level === "Error").map(({ message }) => message)

    it.effect("keys: the methods have their own names, with one line in the log", () =>
      Effect.gen(function*() {
        const view = Rego.resilientService(service(), { namespace: "x", keys: throws })
        const log: Array<Line> = []
        const { calls } = yield* callsOf(Effect.all([view.get(), view.get(), view.users.get()]), log)
        assert.deepStrictEqual(calls.map(([key]) => key), ["x.get", "x.get", "x.users.get"])
        assert.deepStrictEqual(defects(log), ["rego: a defect in the keys option of a service fails no call"])
      }))

    it.effect("idempotent: the methods run once, with one line in the log", () =>
      Effect.gen(function*() {
        const view = Rego.resilientService(service(), { namespace: "x", idempotent: throws })
        const log: Array<Line> = []
        const each = Effect.forEach([view.get(), view.users.get()], Effect.exit)
        const { calls } = yield* callsOf(each, log)
        assert.deepStrictEqual(calls, [["x.get", 1], ["x.users.get", 1]])
        assert.deepStrictEqual(defects(log), ["rego: a defect in the idempotent option of a service fails no call"])
      }))
  })

  describe("only, except", () => {
    const make = () => ({
      get: () => Effect.succeed(1),
      getAll: () => Effect.succeed(1),
      users: { get: () => Effect.succeed(1), size: Effect.succeed(1) }
    })
    type Names = ReadonlyArray<Rego.MethodName<ReturnType<typeof make>>>
    const wrapped = (options: { readonly only?: Names; readonly except?: Names }) => {
      const { get, getAll, users } = Rego.resilientService(make(), { namespace: "x", ...options })
      return keysOf(Effect.all([get(), getAll(), users.get(), users.size]))
    }
    const rows: ReadonlyArray<readonly [string, Parameters<typeof wrapped>[0], ReadonlyArray<string>]> = [
      ["a method, by its whole name", { only: ["get"] }, ["x.get"]],
      ["a group", { only: ["users"] }, ["x.users.get", "x.users.size"]],
      ["a method in a group", { only: ["users.size"] }, ["x.users.size"]],
      ["nothing", { only: [] }, []],
      ["all but a method", { except: ["get"] }, ["x.getAll", "x.users.get", "x.users.size"]],
      ["all but a group", { except: ["users"] }, ["x.get", "x.getAll"]],
      ["a group but for one of its methods", { only: ["users"], except: ["users.get"] }, ["x.users.size"]]
    ]
    for (const [what, options, expected] of rows) {
      it.effect(`wraps ${what}`, () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* wrapped(options), expected)
        }))
    }
  })

  it.effect("asks the classifier of the service", () =>
    Effect.gen(function*() {
      const final = Classifier.make(() => Outcome.nonRetryable({ reason: "final" }))
      const { get } = Rego.resilientService({ get: () => flaky(1) }, { namespace: "x", classifier: final })
      assert.deepStrictEqual((yield* callsOf(get())).calls, [["x.get", 1]])
    }))

  it.effect("takes its arguments first or last", () =>
    Effect.gen(function*() {
      const view = Rego.resilientService({ namespace: "x" })({ get: () => flaky(1) })
      assert.deepStrictEqual((yield* callsOf(view.get())).calls, [["x.get", 3]])
    }))

  it.effect("requires a PolicyProvider where the methods run", () =>
    Effect.gen(function*() {
      const { get } = Rego.resilientService({ get: () => Effect.succeed(1) }, { namespace: "x" })
      const exit = yield* Effect.exit(get() as Effect.Effect<number>)
      assert.include(String(exit), "Service not found: @rego/core/PolicyProvider")
    }))
})

describe("Rego.makeResilientService", () => {
  it.effect("takes the provider once, from the layer of the service", () =>
    Effect.gen(function*() {
      const make = Rego.makeResilientService({ get: () => flaky("ada") }, { namespace: "users" })
      const view = yield* under(make, policies, [])
      const [exit, timelines] = yield* Timeline.capture(view.get())
      assert.deepStrictEqual(exit, Exit.succeed("ada"))
      assert.deepStrictEqual(timelines.map(({ attempts, key }) => [key, attempts.length]), [["users.get", 3]])
    }))

  it.effect("takes its arguments last as well", () =>
    Effect.gen(function*() {
      const make = Effect.succeed({ get: () => Effect.die(boom) }).pipe(
        Effect.flatMap(Rego.makeResilientService({ namespace: "users" }))
      )
      const view = yield* under(make, policies, [])
      assertDiesWith(yield* Effect.exit(view.get()), boom)
    }))
})

// -----------------------------------------------------------------------------
// services
// -----------------------------------------------------------------------------

class Counter {
  #count = 0

  get count(): number {
    return this.#count
  }

  set count(value: number) {
    this.#count = value
  }

  get(): Effect.Effect<number> {
    return Effect.sync(() => ++this.#count)
  }

  describe(): string {
    return String(this.#count)
  }
}

class Twice extends Counter {
  twice(): Effect.Effect<number> {
    return Effect.andThen(this.get(), this.get())
  }
}
