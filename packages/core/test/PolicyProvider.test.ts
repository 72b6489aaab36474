import { assert, describe, it } from "@effect/vitest"
import {
  Attempt,
  Backoff,
  Budget,
  Hedge,
  Policy,
  PolicyKey,
  PolicyLayer,
  PolicyProvider,
  Rego,
  Timeline
} from "@rego/core"
import { Duration, Effect, Layer, Option } from "effect"
import type { Line, Policies } from "./support.ts"
import {
  assertDiesWith,
  assertSucceedsWith,
  call,
  fails,
  hangs,
  key,
  policiesOf,
  script,
  status,
  succeeds,
  under
} from "./support.ts"

/** The keys under which calls end up, by the texts of their call sites. */
const keysOf = (layer: Policies, texts: ReadonlyArray<string>, log?: Array<Line>) =>
  Effect.gen(function*() {
    const calls = Effect.forEach(texts, (text) => Rego.resilient(Effect.void, text))
    const [, timelines] = yield* Timeline.capture(calls).pipe((self) => under(self, layer, log))
    return timelines.map((timeline) => timeline.key)
  })

// a layer of its own for each test: one that is built often says so
const any = () => PolicyLayer.make({ policies: { "*": {} } })
const messages = (log: ReadonlyArray<Line>) => log.map(({ level, message }) => `${level} ${message}`)

describe("PolicyProvider rendering", () => {
  const head = (more: Partial<PolicyProvider.PolicyStatus>) => PolicyProvider.render(status(more))

  it("names what is in force, once where it has no revision of its own, with its age where nobody confirms it", () => {
    const age = Option.some(Duration.seconds(90))
    assert.strictEqual(head({}), "policy 7, live")
    assert.strictEqual(head({ age }), "policy 7, live")
    assert.strictEqual(head({ revision: "local", source: "local" }), "policy local")
    assert.strictEqual(head({ source: "stale", age }), "policy 7, stale, 1m 30s old")
    assert.strictEqual(head({ source: "bundled" }), "policy 7, bundled")
    assert.strictEqual(head({ rolledBack: true }), "policy 7, live, rolled back")
  })

  it("has a line for each thing that is not as it should be", () => {
    const until = 60_000
    const rejected = (revision: Option.Option<string>) =>
      head({ rejected: Option.some({ revision, at: 0, issues: [] }) }).split("\n")[1]
    assert.strictEqual(rejected(Option.some("8")), "refused at 1970-01-01T00:00:00.000Z: 8")
    assert.strictEqual(rejected(Option.none()), "refused at 1970-01-01T00:00:00.000Z: a document without a revision")
    const lines = head({
      clamped: [{ path: ["policies", "a.*", "retry", "maxAttempts"], value: 50, limit: 10 }],
      off: [{ pattern: "a.*", until: Option.none() }],
      hedgeOff: [{ pattern: "b.*", until: Option.some(until) }],
      overrides: [
        { pattern: "c.*", change: "off", until },
        { pattern: "d.*", change: Policy.make({}), until }
      ]
    })
    assert.deepStrictEqual(lines.split("\n").slice(1), [
      "clamped policies[\"a.*\"].retry.maxAttempts: 50 to 10",
      "off a.*",
      "hedges off b.* until 1970-01-01T00:01:00.000Z",
      "override c.* until 1970-01-01T00:01:00.000Z: off",
      "override d.* until 1970-01-01T00:01:00.000Z"
    ])
  })

  it("tells of each field what came, went, or became another", () => {
    const differences = [
      { path: ["a"], before: undefined, after: 1 },
      { path: ["b"], before: 1, after: undefined },
      { path: ["c"], before: 1, after: 2 }
    ]
    const text = PolicyProvider.renderChange({ status: status({}), previous: Option.some("6"), differences })
    assert.deepStrictEqual(text.split("\n").slice(1), ["+ a: 1", "- b: 1", "  c: 1 to 2"])
  })
})

describe("PolicyProvider", () => {
  describe("keys that are no keys", () => {
    const cases: ReadonlyArray<readonly [text: string, key: string]> = [
      ["users.Get.1048576", "users._overflow"],
      ["users.550e8400-e29b-41d4-a716-446655440000", "users._overflow"],
      ["users.Get one", "users._overflow"],
      ["users.Größe", "users._overflow"],
      ["1048576", "_overflow"],
      ["1048576.Get", "_overflow"],
      ["", "_overflow"],
      ["   ", "_overflow"],
      ["a".repeat(129), "_overflow"],
      [`users.${"a".repeat(129)}`, "users._overflow"]
    ]
    for (const [text, key] of cases) {
      it.effect(`run under ${key}: ${JSON.stringify(text.slice(0, 50))}`, () =>
        Effect.gen(function*() {
          const log: Array<Line> = []
          assert.deepStrictEqual(yield* keysOf(any(), [text, text], log), [key, key])
          assert.deepStrictEqual(messages(log), [
            `Warn rego ${key}: calls run under ${key}: ${JSON.stringify(text)} is no valid key`
          ])
        }))
    }

    it.effect("are warned about once for each namespace", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const texts = Array.from({ length: 20 }, (_, i) => [`users.${1_000_000 + i}`, `orders.${1_000_000 + i}`]).flat()
        const keys = yield* keysOf(any(), texts, log)
        assert.deepStrictEqual([...new Set(keys)], ["users._overflow", "orders._overflow"])
        assert.strictEqual(log.length, 2)
      }))

    it.effect("get the policy of their namespace, and never make a call fail", () =>
      Effect.gen(function*() {
        let runs = 0
        const failing = Effect.suspend(() => Effect.fail(`failure ${++runs}`))
        const layer = PolicyLayer.make({
          policies: { "users.*": { retry: { maxAttempts: 2, backoff: Backoff.none } } }
        })
        const error = yield* failing.pipe(
          Rego.resilient("users.1048576"),
          Effect.flip,
          (self) => under(self, layer)
        )
        assert.strictEqual(error, "failure 2")
        assert.deepStrictEqual(yield* keysOf(layer, ["users.1048576"]), ["users._overflow"])
      }))

    it.effect("are accepted when a policy names them exactly, without a warning", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const layer = PolicyLayer.make({ policies: { "jobs.20240101": {}, "*": {} } })
        assert.deepStrictEqual(yield* keysOf(layer, ["jobs.20240101", "jobs.20240102"], log), [
          "jobs.20240101",
          "jobs._overflow"
        ])
        assert.strictEqual(log.length, 1)
      }))

    it.effect("are accepted in any spelling of a name that a policy has", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: { "jobs.20240101": {} } })
        assert.deepStrictEqual(yield* keysOf(layer, [" jobs.20240101 ", "jobs . 20240101"]), [
          "jobs.20240101",
          "jobs.20240101"
        ])
      }))
  })

  it.effect("takes all spellings of a key for the same one", () =>
    Effect.gen(function*() {
      const log: Array<Line> = []
      const texts = ["users.Get", " users.Get", "users . Get ", PolicyKey.make("users.Get")]
      assert.deepStrictEqual([...new Set(yield* keysOf(any(), texts, log))], ["users.Get"])
      assert.deepStrictEqual(log, [])
    }))

  it.effect("answers for the policy of a key in all its spellings, as a call would get it", () =>
    Effect.gen(function*() {
      const layer = PolicyLayer.make({ policies: { "users.Get": { idempotent: true } } })
      const known = Effect.flatMap(
        PolicyProvider.PolicyProvider,
        (provider) => Effect.forEach(["users.Get", " users.Get ", "users . Get"], (text) => provider.policy(text))
      )
      const policies = yield* under(known, layer)
      assert.deepStrictEqual(policies.map(Option.isSome), [true, true, true])
    }))

  describe("the bound on keys", () => {
    it.effect("sends further keys to the overflow key of their namespace, with one warning", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const layer = PolicyLayer.make({ policies: { "*": {} }, limits: { maxKeys: 3 } })
        const keys = yield* keysOf(layer, ["a.1", "a.2", "a.3", "a.4", "a.5", "a.1", "a.4"], log)
        assert.deepStrictEqual(keys, ["a.1", "a.2", "a.3", "a._overflow", "a._overflow", "a.1", "a._overflow"])
        assert.deepStrictEqual(messages(log), [
          "Warn rego a._overflow: calls run under a._overflow: \"a.4\" is one key too many"
        ])
      }))

    it.effect("does not hold back a key that a policy names exactly", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: { "*": {}, "a.Important": {} }, limits: { maxKeys: 2 } })
        assert.deepStrictEqual(yield* keysOf(layer, ["a.1", "a.2", "a.3", "a.Important"]), [
          "a.1",
          "a.2",
          "a._overflow",
          "a.Important"
        ])
      }))

    /** How many states a layer builds, at one budget for each. */
    const statesOf = (texts: ReadonlyArray<string>, maxKeys: number) =>
      Effect.gen(function*() {
        let built = 0
        const counted: Budget.Make = Effect.andThen(Effect.sync(() => built++), Budget.none)
        const layer = PolicyLayer.make({ policies: { "*": { budget: "counted" } }, limits: { maxKeys } }).pipe(
          Layer.provide(Budget.layer("counted", counted))
        )
        yield* keysOf(layer, [...texts, ...texts])
        return built
      })
    const thousand = Array.from({ length: 1_000 }, (_, i) => i)

    it.effect("bounds the states of a layer with many names in one namespace", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* statesOf(thousand.map((i) => `users.Get${i}`), 10), 11)
      }))

    it.effect("bounds the states of a layer with as many namespaces as keys", () =>
      Effect.gen(function*() {
        // the keys, as many overflow keys, and the one that has no namespace
        assert.isAtMost(yield* statesOf(thousand.map((i) => `tenant${i}.Get`), 10), 21)
      }))

    it.effect("bounds the states of a layer with many namespaces of keys that are no keys", () =>
      Effect.gen(function*() {
        assert.isAtMost(yield* statesOf(thousand.map((i) => `tenant${i}.1048576`), 10), 21)
      }))

    it.effect("bounds the states of a layer with many spellings of one key", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* statesOf(thousand.map((i) => `users${" ".repeat(i % 500)}.Get`), 10), 1)
      }))
  })

  describe("in lines", () => {
    const local = status({ revision: "local", source: "local" })
    const seven = { ...local, revision: "7" }

    it("say where the policies come from, how old they are, and whether they are back", () => {
      const cases: ReadonlyArray<readonly [status: Partial<PolicyProvider.PolicyStatus>, line: string]> = [
        [{ revision: "local" }, "policy local"],
        [{}, "policy 7, local"],
        [{ source: "stale" }, "policy 7, stale"],
        [{ source: "lkg", age: Option.some(Duration.minutes(2)) }, "policy 7, lkg, 2m old"],
        [{ source: "live", age: Option.some(Duration.minutes(2)) }, "policy 7, live"],
        [{ source: "live", rolledBack: true }, "policy 7, live, rolled back"]
      ]
      for (const [status, line] of cases) assert.strictEqual(PolicyProvider.render({ ...seven, ...status }), line)
    })

    it("name what is wrong, and what was laid over it", () => {
      const status: PolicyProvider.PolicyStatus = {
        ...seven,
        rejected: Option.some({ revision: Option.none(), issues: [{ path: [], message: "is no document" }], at: 0 }),
        overrides: [
          { pattern: "a.*", change: "off", until: 1_000 },
          { pattern: "b.*", change: Policy.make({ idempotent: true }), until: 2_000 }
        ]
      }
      assert.deepStrictEqual(PolicyProvider.render(status).split("\n"), [
        "policy 7, local",
        "refused at 1970-01-01T00:00:00.000Z: a document without a revision",
        "  is no document",
        "override a.* until 1970-01-01T00:00:01.000Z: off",
        "override b.* until 1970-01-01T00:00:02.000Z"
      ])
    })

    it("tell what came, what went, and what is another", () => {
      const differences = [
        { path: ["policies", "a", "budget"], before: undefined, after: "x" },
        { path: ["policies", "b", "budget"], before: "x", after: undefined },
        { path: ["policies", "c", "budget"], before: "x", after: "y" }
      ]
      const change = { status: seven, previous: Option.none(), differences }
      assert.deepStrictEqual(PolicyProvider.renderChange(change).split("\n"), [
        "policy 7, local",
        "+ policies.a.budget: \"x\"",
        "- policies.b.budget: \"x\"",
        "  policies.c.budget: \"x\" to \"y\""
      ])
    })
  })

  describe("around", () => {
    const underFault = (policy: Policy.Input, ...arounds: ReadonlyArray<Attempt.Around>): Policies =>
      arounds.reduce<Policies>(
        (layer, each) => PolicyProvider.around(each).pipe(Layer.provide(layer)),
        policiesOf(policy)
      )

    it.effect("stands around each attempt, hedges too, and is told which one it is", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const effect = script(fails("503"), hangs, succeeds("ada", 10))
        const policy = {
          retry: { backoff: Backoff.none },
          hedge: { trigger: Hedge.after("1 second") },
          idempotent: true
        }
        const layer = underFault(policy, (self, attempt) => {
          seen.push(`${attempt.key} ${Attempt.format(attempt)}`)
          return self
        })
        const { exit } = yield* call(effect.effect, { layer })
        assertSucceedsWith(exit, "ada")
        assert.deepStrictEqual(seen, ["svc.Method primary", "svc.Method retry 1", "svc.Method retry 1, hedge 1"])
      }))

    it.effect("is inside the timeout of the attempt, and its exit is what the classifier judges", () =>
      Effect.gen(function*() {
        const effect = script(succeeds("ada"))
        const policy = {
          retry: { maxAttempts: 2, backoff: Backoff.none },
          timeout: { perAttempt: "1 second" },
          idempotent: true
        } as const
        const layer = underFault(policy, (self, { retry }) => retry === 0 ? Effect.delay(self, "2 seconds") : self)
        const { rows } = yield* call(effect.effect, { layer })
        assert.deepStrictEqual(rows, [
          [0, "start 0"],
          [1_000, "timed_out 0 Retryable attempt_timeout"],
          [1_000, "start 1"],
          [1_000, "end 1 Success"],
          [1_000, "success"]
        ])
        assert.strictEqual(effect.runs, 1)
      }))

    it.effect("is inside of one that was there before", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const named = (name: string): Attempt.Around => (self) =>
          Effect.tap(self, () => Effect.sync(() => order.push(name)))
        yield* call(Effect.void, { layer: underFault({}, named("first"), named("second")) })
        assert.deepStrictEqual(order, ["second", "first"])
      }))

    it.effect("is a defect of the attempt when it throws", () =>
      Effect.gen(function*() {
        const bug = new Error("bug")
        const layer = underFault({}, () => {
          throw bug
        })
        const { exit, rows } = yield* call(Effect.succeed("ada"), { layer })
        assertDiesWith(exit, bug)
        assert.deepStrictEqual(rows[1], [0, "end 0 NonRetryable defect"])
      }))

    it.effect("leaves the calls alone that use the provider it was made from, and shares its state with them", () =>
      Effect.gen(function*() {
        const provider = yield* PolicyProvider.PolicyProvider
        const surrounded = yield* Layer.build(PolicyProvider.around(() => Effect.die("around")))
        yield* Effect.succeed("ada").pipe(Rego.resilient(key))
        const exit = yield* Effect.exit(Effect.provide(Rego.resilient(Effect.succeed("ada"), "other.Key"), surrounded))
        assertDiesWith(exit, "around")
        assert.isTrue(Option.isSome(yield* provider.statistics("other.Key")))
      }).pipe(Effect.provide(policiesOf({}))))

    it.effect("hears of policies that come later", () =>
      Effect.gen(function*() {
        const surrounded = yield* Layer.build(PolicyProvider.around((self) => self))
        const attempts = Effect.map(
          Timeline.capture(Effect.fail("503").pipe(Rego.resilient(key), Effect.provide(surrounded))),
          ([, [timeline]]) => timeline?.attempts.length
        )
        assert.strictEqual(yield* attempts, 2)
        const provider = yield* PolicyProvider.PolicyProvider
        yield* provider.override(key, "off", { for: "1 minute" })
        assert.strictEqual(yield* attempts, 1)
      }).pipe(Effect.provide(policiesOf({ retry: { maxAttempts: 2, backoff: Backoff.none } }))))
  })
})
