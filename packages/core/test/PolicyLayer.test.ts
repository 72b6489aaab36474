import { assert, describe, it } from "@effect/vitest"
import { Backoff, Budget, Classifier, Hedge, Outcome, Policy, PolicyLayer, PolicyProvider, Rego } from "@rego/core"
import { Duration, Effect, Exit, Layer, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as v8 from "node:v8"
import * as vm from "node:vm"
import type { Line, Policies } from "./support.ts"
import {
  assertFailsWith,
  call,
  fails,
  hangs,
  inVirtualTime,
  key,
  policiesOf,
  regoErrorOf,
  script,
  succeeds,
  under,
  withLog
} from "./support.ts"

const boom = new Error("boom")
const backoff = Backoff.constant("10 millis", { jitter: "none" })
const retry = (maxAttempts: number) => ({ retry: { maxAttempts, backoff } })

/** How often a failing effect runs under a key. */
const runsUnder = (layer: Policies, name: string) =>
  Effect.gen(function*() {
    const s = script(fails(boom))
    yield* call(s.effect, { layer, key: name })
    return s.runs
  })

/** Builds a layer and says why it does not boot, and what it logs. */
const boot = (layer: Policies) =>
  Effect.gen(function*() {
    const log: Array<Line> = []
    const exit = yield* withLog(Effect.exit(Effect.scoped(Effect.asVoid(Layer.build(layer)))), log)
    return { exit, log: log.map(({ level, message }) => `${level} ${message}`) }
  })

const issuesOf = (layer: Policies) =>
  Effect.map(boot(layer), ({ exit }) => {
    if (exit._tag === "Success") return []
    const [reason] = exit.cause.reasons
    const error = reason?._tag === "Fail" ? reason.error : undefined
    assert.instanceOf(error, Policy.PolicyInvalid)
    return error.issues.map((issue) => [issue.path.join(" "), issue.message] as const)
  })

const document = (content: object) => ({ schemaVersion: "1.0", revision: "r7", policies: {}, ...content })

describe("PolicyLayer", () => {
  describe("onMissing", () => {
    it.effect("single-attempt, the default, runs a key that no policy matches once and warns once for it", () =>
      Effect.gen(function*() {
        for (const onMissing of [undefined, "single-attempt" as const]) {
          const log: Array<Line> = []
          const s = script(fails(boom))
          const calls = Effect.all([1, 2, 3].map(() => Effect.exit(s.effect.pipe(Rego.resilient("new.Key")))))
          yield* inVirtualTime(calls).pipe((self) =>
            under(self, PolicyLayer.make({ policies: { [key]: retry(3) }, defaults: retry(5), onMissing }), log)
          )
          assert.strictEqual(s.runs, 3)
          assert.deepStrictEqual(
            log.filter((line) => line.message.includes("new.Key")).map(({ level, message }) => [level, message]),
            [["Warn", "rego new.Key: no policy matches this key"]]
          )
        }
      }))

    it.effect("defaults gives it the layer's defaults laid over Policy.defaults, without a warning", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const layer = PolicyLayer.make({
          policies: {},
          defaults: { timeout: { overall: "100 millis" } },
          onMissing: "defaults"
        })
        const ran = yield* call(script(hangs).effect, { layer, key: "new.Key", log })
        assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 100)
        // attempts that fail at once and two waits of 30 ms at most in all
        assert.strictEqual(yield* runsUnder(layer, "new.Key"), 3)
        assert.deepStrictEqual(log, [])
      }))

    it.effect("fail refuses it with PolicyMissing and runs nothing", () =>
      Effect.gen(function*() {
        const s = script(succeeds(1))
        const layer = PolicyLayer.make({ policies: { [key]: retry(3) }, onMissing: "fail" })
        const ran = yield* call(s.effect, { layer, key: "new.Key" })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "PolicyMissing")
        assert.strictEqual(s.runs, 0)
        assert.strictEqual(yield* runsUnder(layer, key), 3)
      }))

    it.effect("is not decided by defaults: they do not make a key known", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: {}, defaults: retry(5) })
        assert.strictEqual(yield* runsUnder(layer, key), 1)
      }))
  })

  describe("entries", () => {
    const layer = PolicyLayer.make({
      defaults: { budget: "unlimited" },
      policies: {
        "*": retry(2),
        "svc.*": retry(3),
        "svc.users.*": retry(4),
        "svc.users.Get": { retry: { maxAttempts: 5 } },
        "svc.users.Delete": { retry: "off" },
        "svc.users.List": { timeout: { overall: "1 hour" } }
      }
    })
    const expected = {
      "other.Key": 2,
      Plain: 2,
      "svc.Method": 3,
      "svc.users": 3,
      "svc.users.Put": 4,
      "svc.users.Get": 5,
      "svc.users.Delete": 1,
      "svc.users.List": 4
    }
    for (const [name, runs] of Object.entries(expected)) {
      it.effect(`give ${name} ${runs} attempts`, () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* runsUnder(layer, name), runs)
        }))
    }

    it.effect("merge fields of a section, from general to specific", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({
          defaults: { retry: { backoff }, budget: "unlimited" },
          policies: { "*": { retry: { maxAttempts: 4 } }, [key]: { idempotent: true } }
        })
        const s = script(fails(boom))
        yield* call(s.effect, { layer })
        assert.deepStrictEqual(s.startedAt, [0, 10, 20, 30])
      }))

    it.effect("replace a backoff whole", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({
          defaults: { budget: "unlimited" },
          policies: {
            "*": { retry: { backoff: Backoff.exponential({ initial: 10, max: 20, jitter: "none" }) } },
            [key]: { retry: { backoff: Backoff.exponential({ initial: 40, max: 1_000, jitter: "none" }) } }
          }
        })
        const s = script(fails(boom))
        yield* call(s.effect, { layer })
        assert.deepStrictEqual(s.startedAt, [0, 40, 120])
      }))

    it.effect("switch an inherited timeout off", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({
          policies: { "*": { timeout: { overall: "10 millis" } }, [key]: { timeout: "off" } }
        })
        const s = script(succeeds("late", 100))
        const ran = yield* call(s.effect, { layer })
        assert.isTrue(Exit.isSuccess(ran.exit))
        const other = yield* call(s.effect, { layer, key: "other.Key" })
        assert.strictEqual(regoErrorOf(other.exit).reason._tag, "DeadlineExceeded")
      }))

    it.effect("switch on again what a more general one switched off", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({
          defaults: { ...retry(3), budget: "unlimited" },
          policies: { "svc.*": { retry: "off" }, [key]: { retry: {} } }
        })
        assert.strictEqual(yield* runsUnder(layer, key), 3)
        assert.strictEqual(yield* runsUnder(layer, "svc.Other"), 1)
      }))

    it.effect("accept policies made before", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({
          policies: { [key]: Policy.make({ ...retry(4), budget: "unlimited" }) },
          defaults: Policy.http
        })
        assert.strictEqual(yield* runsUnder(layer, key), 4)
      }))
  })

  describe("invalid options", () => {
    it.effect("list every issue of every part, each with its path", () =>
      Effect.gen(function*() {
        const wrong = {
          policies: {
            "a b": {},
            "svc.*.Get": {},
            [key]: { retry: { maxAttempts: 11 }, timeout: { perAttempt: Number.NaN, overal: 3 } },
            "svc.Other": { budget: { name: "unlimited", retryCost: 0 }, idempotent: "yes" }
          },
          defaults: { retry: { backoff: "fast" } },
          limits: { maxKeys: 0, maxAbandoned: 1.5, shutdownTimeout: "11 minutes", maxAttempts: 3 }
        }
        const issues = yield* issuesOf(PolicyLayer.make(wrong as unknown as { policies: {} }))
        assert.deepStrictEqual(issues.map(([path]) => path).toSorted(), [
          "defaults retry backoff",
          "limits maxAbandoned",
          "limits maxAttempts",
          "limits maxKeys",
          "limits shutdownTimeout",
          "policies a b",
          "policies svc.*.Get",
          "policies svc.Method retry maxAttempts",
          "policies svc.Method timeout overal",
          "policies svc.Method timeout perAttempt",
          "policies svc.Other budget retryCost",
          "policies svc.Other idempotent"
        ])
      }))

    it.effect("say which rule was broken, and by what", () =>
      Effect.gen(function*() {
        const issues = yield* issuesOf(PolicyLayer.make({ policies: { "a b": { retry: { maxAttempts: 11 } } } }))
        assert.deepStrictEqual(issues, [
          ["policies a b", "must be a key, \"prefix.*\" or \"*\", got \"a b\""],
          ["policies a b retry maxAttempts", "must be an integer between 1 and 10, got 11"]
        ])
      }))
  })

  describe("a cost that can never be granted", () => {
    const bucket = (capacity: number) => Budget.tokenBucket({ capacity, refillPerSecond: 1 })
    const issuesWith = (policy: Policy.Input<"own" | "gate">) =>
      issuesOf(
        PolicyLayer.make({ policies: { [key]: policy } }).pipe(
          Layer.provide([Budget.layer("own", bucket(5)), Budget.layer("gate", bucket(3))])
        )
      )
    const hedge = { trigger: Hedge.after(10), budget: "gate" } as const
    const rule = (cost: "retryCost" | "hedgeCost", name: string, most: number, got: number) =>
      [
        `policies ${key} budget ${cost}`,
        `must be at most what the budget "${name}" can ever grant${
          cost === "hedgeCost" ? " to a hedge" : ""
        } (${most}), ` +
        `got ${got}`
      ] as const

    it.effect("is refused, of the budget and of the one that hedges have besides", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* issuesWith({ budget: { name: "own", retryCost: 6, hedgeCost: 7 } }), [
          rule("retryCost", "own", 5, 6),
          rule("hedgeCost", "own", 5, 7)
        ])
        assert.deepStrictEqual(yield* issuesWith({ budget: { name: "own", retryCost: 4, hedgeCost: 4 }, hedge }), [
          rule("hedgeCost", "gate", 3, 4)
        ])
        assert.deepStrictEqual(yield* issuesWith({ budget: { name: "own", retryCost: 5, hedgeCost: 3 }, hedge }), [])
      }))

    it.effect("is refused for hedges above what a reserve keeps for retries, where nothing else pays for them", () =>
      Effect.gen(function*() {
        const rows = [
          [{ ratio: 0 }, 8, []],
          [{ ratio: 0 }, 9, [rule("hedgeCost", "own", 8, 9)]],
          [{ ratio: 0.1, keepForRetries: 1 }, 2, [rule("hedgeCost", "own", 0, 2)]],
          [{ ratio: 0.1 }, 100, []],
          [{ ratio: 0, keepForRetries: 0, reserve: { burst: 20 } }, 20, []]
        ] as const
        for (const [options, hedgeCost, issues] of rows) {
          const layer = PolicyLayer.make({ policies: { [key]: { budget: { name: "own", hedgeCost } } } })
          for (const make of [Budget.ratio(options), Budget.all(Budget.ratio(options), Budget.unlimited)]) {
            assert.deepStrictEqual<ReadonlyArray<unknown>>(
              yield* issuesOf(layer.pipe(Layer.provide(Budget.layer("own", make)))),
              issues
            )
          }
        }
      }))
  })

  describe("a hedge budget that gates first attempts", () => {
    it.effect("is refused: it is not asked for them, and would never refuse a hedge", () =>
      Effect.gen(function*() {
        const hedged = (budget: "own" | "default") =>
          PolicyLayer.make({
            policies: { [key]: { budget, hedge: { trigger: Hedge.after(10), budget: "own" }, idempotent: true } }
          })
        const throttle = Budget.adaptiveThrottle()
        const issue = [
          `policies ${key} hedge budget`,
          "must name a budget that does not gate first attempts, as adaptiveThrottle does: nobody asks it for them " +
          "here, got \"own\""
        ]
        for (
          const [own, issues] of [
            [throttle, [issue]],
            [Budget.all(Budget.unlimited, throttle), [issue]],
            [Budget.concurrency({ max: 3 }), []]
          ] as const
        ) {
          const provided = Layer.provide(Budget.layer("own", own))
          assert.deepStrictEqual<ReadonlyArray<unknown>>(yield* issuesOf(hedged("default").pipe(provided)), issues)
          // the budget of the policy itself is asked for everything
          assert.deepStrictEqual(yield* issuesOf(hedged("own").pipe(provided)), [])
        }
      }))

    it.effect("is built once to be looked at, however many policies name it", () =>
      Effect.gen(function*() {
        let builds = 0
        const own = Effect.tap(Budget.unlimited, () => Effect.sync(() => builds++))
        const hedge = { trigger: Hedge.after(10), budget: "own" } as const
        const layer = PolicyLayer.make({ policies: { "a.*": { hedge }, "b.*": { hedge }, "c.*": { hedge } } })
        yield* issuesOf(layer.pipe(Layer.provide(Budget.layer("own", own))))
        assert.strictEqual(builds, 1)
      }))
  })

  describe("names that are no literals and that nobody provides", () => {
    const unknown: string = "nobody"
    const expected = (pattern: string): ReadonlyArray<readonly [path: string, message: string]> => [
      [`policies ${pattern} budget`, "must name a budget that is provided, got \"nobody\""],
      [`policies ${pattern} classifier`, "must name a classifier that is provided, got \"nobody\""]
    ]

    it.effect("fail the boot with every issue", () =>
      Effect.gen(function*() {
        const policy = { budget: unknown, classifier: unknown }
        const layer = PolicyLayer.make({ policies: { [key]: policy, "svc.*": policy, "*": policy } })
        assert.deepStrictEqual(yield* issuesOf(layer), [...expected("*"), ...expected("svc.*"), ...expected(key)])
      }))

    it.effect("fail the boot where they are inherited from defaults", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: { [key]: {} }, defaults: { budget: unknown, classifier: unknown } })
        assert.deepStrictEqual(yield* issuesOf(layer), [
          ["defaults budget", "must name a budget that is provided, got \"nobody\""],
          ["defaults classifier", "must name a classifier that is provided, got \"nobody\""]
        ])
      }))

    it.effect("fail the boot where defaults are what missing keys get", () =>
      Effect.gen(function*() {
        const defaults = { budget: unknown, classifier: unknown }
        const issues = yield* issuesOf(PolicyLayer.make({ policies: {}, defaults, onMissing: "defaults" }))
        assert.deepStrictEqual(issues.map(([, message]) => message), expected(key).map(([, message]) => message))
      }))

    it.effect("boot when they are provided to the layer", () =>
      Effect.gen(function*() {
        const registries = Layer.mergeAll(
          Budget.layer("nobody", Budget.none),
          Classifier.layer({ nobody: Classifier.never })
        )
        const layer = PolicyLayer.make({ policies: { [key]: { ...retry(3), budget: unknown, classifier: unknown } } })
        assert.strictEqual(yield* runsUnder(layer.pipe(Layer.provide(registries)), key), 1)
      }))
  })

  describe("registries", () => {
    it.effect("of several layers merge, and each policy finds its own by name", () =>
      Effect.gen(function*() {
        const final = Classifier.make(() => Outcome.nonRetryable({ reason: "final" }))
        const again = Classifier.make(() => Outcome.retryable({ reason: "again" }))
        const layer = PolicyLayer.make({
          policies: {
            "a.A": { ...retry(2), budget: "one", classifier: "again" },
            "b.B": { ...retry(2), budget: "two", classifier: "again" },
            "c.C": { ...retry(2), budget: "one", classifier: "final" }
          }
        }).pipe(Layer.provide([
          Budget.layer("one", Budget.unlimited),
          Budget.layer("two", Budget.none),
          Classifier.layer({ final }),
          Classifier.layer({ again })
        ]))
        assert.strictEqual(yield* runsUnder(layer, "a.A"), 2)
        assert.strictEqual(yield* runsUnder(layer, "b.B"), 1)
        assert.strictEqual(yield* runsUnder(layer, "c.C"), 1)
      }))
  })

  describe("what is said at boot", () => {
    it.effect("warns once per key about retries without any timeout", () =>
      Effect.gen(function*() {
        const { log } = yield* boot(PolicyLayer.make({ policies: { "a.A": retry(3), "b.*": retry(3), "c.C": {} } }))
        const warning = "retries or hedges are on and there is no timeout: an attempt that hangs is never given up"
        assert.deepStrictEqual(log, [`Warn rego b.*: ${warning}`, `Warn rego a.A: ${warning}`])
      }))

    it.effect("looks at entries as they end up: an inherited timeout is a timeout", () =>
      Effect.gen(function*() {
        const { log } = yield* boot(
          PolicyLayer.make({ policies: { [key]: retry(3) }, defaults: { timeout: { overall: "1 second" } } })
        )
        assert.deepStrictEqual(log, [])
      }))

    it.effect("warns about an attempt's timeout that never applies", () =>
      Effect.gen(function*() {
        const { log } = yield* boot(
          PolicyLayer.make({ policies: { [key]: { timeout: { perAttempt: "2 seconds", overall: "1 second" } } } })
        )
        assert.deepStrictEqual(log, [
          `Warn rego ${key}: timeout.perAttempt is not shorter than timeout.overall, so it never applies`
        ])
      }))

    it.effect("logs a budget that is unlimited", () =>
      Effect.gen(function*() {
        const { log } = yield* boot(
          PolicyLayer.make({
            policies: { [key]: { ...retry(3), timeout: { overall: "1 second" }, budget: "unlimited" } }
          })
        )
        assert.deepStrictEqual(log, [
          `Warn rego ${key}: the budget is "unlimited": nothing holds back a storm of retries`
        ])
      }))

    it.effect("says nothing where there is nothing to say", () =>
      Effect.gen(function*() {
        const { log } = yield* boot(
          PolicyLayer.make({ policies: { [key]: Policy.http, "a.A": Policy.llm, "b.B": { retry: "off" } } })
        )
        assert.deepStrictEqual(log, [])
      }))

    const rebuilds = (times: number, every: Duration.Input) =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const layer = PolicyLayer.make({ policies: {} })
        const build = Effect.andThen(Effect.scoped(Layer.build(layer)), Effect.sleep(every))
        yield* inVirtualTime(Effect.forEach(Array.from({ length: times }), () => build, { discard: true }), "1 hour")
          .pipe(
            (self) => withLog(self, log)
          )
        return log.map((line) => line.message)
      })
    const rebuilt = "PolicyLayer: built more than 10 times within 10 seconds. Provide it once, at the edge of the " +
      "application: around a single call its budgets start anew each time"

    it.effect("warns when it is built 11 times within 10 seconds, and not at 10", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* rebuilds(10, "100 millis"), [])
        assert.deepStrictEqual(yield* rebuilds(11, "100 millis"), [rebuilt])
      }))

    it.effect("does not warn when it is built often over a longer time", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* rebuilds(100, "1100 millis"), [])
      }))

    it.effect("warns once in a burst", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* rebuilds(50, "10 millis"), [rebuilt])
      }))

    it.effect("warns once however long it goes on to be built around calls", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* rebuilds(60, "1 second"), [rebuilt])
      }))
  })

  describe("state", () => {
    const failOnce = (name: string) => Effect.exit(Effect.fail(boom).pipe(Rego.resilient(name)))
    const attemptsOf = (layer: Policies, calls: number, name = key) =>
      Effect.gen(function*() {
        const s = script(fails(boom))
        const all = Effect.all(Array.from({ length: calls }, () => Effect.exit(s.effect.pipe(Rego.resilient(name)))))
        yield* inVirtualTime(all, "5 seconds").pipe((self) => under(self, layer))
        return s.runs
      })

    it.effect("is shared by all calls under one layer", () =>
      Effect.gen(function*() {
        // a reserve of five for the key, whoever calls
        assert.strictEqual(yield* attemptsOf(PolicyLayer.make({ policies: { [key]: retry(2) } }), 20), 25)
      }))

    it.effect("is not shared by two layers, though they are made from the same options", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: { [key]: retry(2) } })
        assert.strictEqual(yield* attemptsOf(layer, 20), 25)
        assert.strictEqual(yield* attemptsOf(layer, 20), 25)
        const both = yield* Effect.all([Layer.build(Layer.fresh(layer)), Layer.build(Layer.fresh(layer))])
        for (const context of both) {
          const s = script(fails(boom))
          const all = Effect.all(Array.from({ length: 20 }, () => Effect.exit(s.effect.pipe(Rego.resilient(key)))))
          yield* inVirtualTime(all, "5 seconds").pipe(Effect.provide(context))
          assert.strictEqual(s.runs, 25)
        }
      }))

    it.effect("is kept per key: one key cannot drain another's budget", () =>
      Effect.gen(function*() {
        const s = script(fails(boom))
        const all = Effect.all(
          ["a.A", "b.B"].flatMap((name) =>
            Array.from({ length: 20 }, () => Effect.exit(s.effect.pipe(Rego.resilient(name))))
          )
        )
        yield* inVirtualTime(all, "5 seconds").pipe((self) =>
          under(self, PolicyLayer.make({ policies: { "*": retry(2) } }))
        )
        assert.strictEqual(s.runs, 50)
      }))

    it.effect("is built with the layer's scope and freed with it", () =>
      Effect.gen(function*() {
        const events: Array<string> = []
        const make: Budget.Make = Effect.acquireRelease(
          Effect.andThen(Effect.sync(() => events.push("built")), Budget.unlimited),
          () => Effect.sync(() => events.push("freed"))
        )
        const layer = policiesOf({ ...retry(2), budget: "own" }).pipe(Layer.provide(Budget.layer("own", make)))
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(layer, scope)
        assert.deepStrictEqual(events, [])
        yield* Effect.provide(failOnce(key), context).pipe(inVirtualTime)
        yield* Effect.provide(failOnce(key), context).pipe(inVirtualTime)
        assert.deepStrictEqual(events, ["built"])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(events, ["built", "freed"])
      }))

    it.effect("can be collected once the layer has closed", () =>
      Effect.gen(function*() {
        v8.setFlagsFromString("--expose-gc")
        const collect = vm.runInNewContext("gc") as () => void
        const refs: Array<WeakRef<object>> = []
        const make: Budget.Make = Effect.map(Budget.none, (none) => {
          const budget = { ...none }
          refs.push(new WeakRef(budget))
          return budget
        })
        const layer = policiesOf({ ...retry(2), budget: "own" }).pipe(Layer.provide(Budget.layer("own", make)))
        const stored = Effect.fail(boom).pipe(Rego.resilient(key))
        yield* inVirtualTime(Effect.exit(stored)).pipe((self) => under(self, layer))
        assert.strictEqual(refs.length, 1)
        // A WeakRef keeps its target until the current job has ended, and a collector may need more than one go.
        for (let go = 0; go < 20 && refs[0]!.deref() !== undefined; go++) {
          yield* TestClock.withLive(Effect.sleep(1))
          collect()
        }
        assert.isUndefined(refs[0]!.deref())
      }))
  })

  describe("limits", () => {
    it.effect("maxAttemptRecords keeps the first records and the last one, and counts the others", () =>
      Effect.gen(function*() {
        const layer = policiesOf(retry(6), { maxAttemptRecords: 3 })
        const ran = yield* call(script(fails(boom)).effect, { layer })
        assert.deepStrictEqual(ran.timeline.attempts.map(({ attempt }) => attempt.retry), [0, 1, 5])
        assert.deepStrictEqual(ran.timeline.attributes, { droppedAttempts: "3" })
      }))

    it.effect("maxAbandoned denies extra attempts, never first ones, and only while they still run", () =>
      Effect.gen(function*() {
        const s = script(succeeds("ok", 100))
        const stuck = Effect.uninterruptible(s.effect)
        const layer = policiesOf({ ...retry(2), timeout: { perAttempt: "10 millis" }, idempotent: true }, {
          maxAbandoned: 2
        })
        const calls = Effect.forEach([1, 2, 3], () => Effect.exit(stuck.pipe(Rego.resilient(key))))
        const program = Effect.andThen(calls, Effect.andThen(Effect.sleep("200 millis"), calls))
        yield* inVirtualTime(program).pipe((self) => under(self, layer))
        // two runs fill the bound, then two calls of one attempt each; the same again once all have ended
        assert.strictEqual(s.runs, 8)
      }))

    it.live("shutdownTimeout bounds the wait for given up attempts, on the live clock", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        let release: () => void = () => {}
        const stuck = Effect.uninterruptible(Effect.callback<void>((resume) => {
          release = () => resume(Effect.void)
        }))
        const layer = policiesOf({ timeout: { perAttempt: "1 millis" } }, { shutdownTimeout: "5 millis" })
        const exit = yield* under(Effect.exit(stuck.pipe(Rego.resilient(key))), layer, log)
        assert.strictEqual(regoErrorOf(exit).reason._tag, "AttemptTimedOut")
        release()
        assert.deepStrictEqual(log.map((line) => line.message), [
          "PolicyLayer: 1 abandoned attempts or finalizers still ran after 5ms and were left"
        ])
      }))

    it.effect("a layer closes at once when nothing is left, without virtual time passing", () =>
      Effect.gen(function*() {
        const exit = yield* under(Effect.exit(Effect.fail(boom).pipe(Rego.resilient(key))), policiesOf({}))
        assertFailsWith(exit, boom)
      }))
  })

  describe("defaults", () => {
    it.effect("gives every key three attempts with full jitter and no timeouts", () =>
      Effect.gen(function*() {
        const firstWaits = new Set<number>()
        for (let i = 0; i < 20; i++) {
          const s = script(fails(boom))
          yield* call(s.effect, { layer: PolicyLayer.defaults, key: "any.Key", seed: `defaults ${i}` })
          assert.strictEqual(s.runs, 3)
          assert.isAtMost(s.startedAt[1]!, 10)
          firstWaits.add(s.startedAt[1]!)
        }
        assert.isAbove(firstWaits.size, 3)
        const slow = yield* call(script(succeeds("ok", 3_600_000)).effect, {
          layer: PolicyLayer.defaults,
          during: "1 hour"
        })
        assert.isTrue(Exit.isSuccess(slow.exit))
      }))
  })

  describe("fromDocument", () => {
    it.effect("gives its revision to timelines and status", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.fromDocument(document({ policies: { "svc.*": { retry: { maxAttempts: 2 } } } }))
        const ran = yield* call(script(fails(boom)).effect, { layer })
        assert.deepStrictEqual([ran.timeline.policyRevision, ran.timeline.policySource], ["r7", "local"])
        assert.strictEqual(ran.timeline.attempts.length, 2)
        const status = yield* Effect.flatMap(PolicyProvider.PolicyProvider, (provider) => provider.status).pipe((
          self
        ) => under(self, layer))
        assert.deepStrictEqual([status.revision, status.source, status.age], ["r7", "local", Option.none()])
      }))

    it.effect("lays its defaults under entries that match, and a key that none matches runs once", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.fromDocument(
          document({ defaults: { retry: { maxAttempts: 4 } }, policies: { "svc.*": {} } })
        )
        assert.strictEqual(yield* runsUnder(layer, key), 4)
        assert.strictEqual(yield* runsUnder(layer, "other.Key"), 1)
      }))

    it.effect("builds the budgets it holds, one for each key or one for all", () =>
      Effect.gen(function*() {
        const one = { type: "ratio", reserve: { burst: 1, start: 1, perSecond: 0 } }
        for (const [scope, runs] of [[undefined, 6], ["key", 6], ["shared", 5]] as const) {
          const layer = PolicyLayer.fromDocument(document({
            budgets: { one: { ...one, ...(scope === undefined ? {} : { scope }) } },
            policies: { "*": { retry: { maxAttempts: 3 }, budget: "one" } }
          }))
          const s = script(fails(boom))
          const calls = Effect.all(
            ["a.A", "b.B", "a.A", "b.B"].map((name) => Effect.exit(s.effect.pipe(Rego.resilient(name))))
          )
          yield* inVirtualTime(calls).pipe((self) => under(self, layer))
          assert.strictEqual(s.runs, runs, scope)
        }
      }))

    it.effect("does not share its budgets with another layer of the same document", () =>
      Effect.gen(function*() {
        const json = document({
          budgets: { one: { type: "ratio", scope: "shared", reserve: { burst: 1, start: 1, perSecond: 0 } } },
          policies: { "*": { retry: { maxAttempts: 3 }, budget: "one" } }
        })
        const layer = PolicyLayer.fromDocument(json)
        assert.strictEqual(yield* runsUnder(layer, key), 2)
        assert.strictEqual(yield* runsUnder(layer, key), 2)
      }))

    for (
      const [off, stopped, free] of [
        [["svc.Method"], key, "svc.Other"],
        [["svc.*"], key, "other.Key"],
        [["*"], key, undefined]
      ] as const
    ) {
      it.effect(`switches retries off for ${off.join()} and for nothing else`, () =>
        Effect.gen(function*() {
          const layer = PolicyLayer.fromDocument(
            document({ policies: { "*": { retry: {}, budget: "unlimited" } }, off })
          )
          const ran = yield* call(script(fails(boom)).effect, { layer, key: stopped })
          assert.strictEqual(ran.timeline.attempts.length, 1)
          assert.deepStrictEqual(
            ran.timeline.decisions.map((d) => d._tag === "Stopped" ? d.reason : d._tag),
            ["switched_off"]
          )
          if (free !== undefined) assert.strictEqual(yield* runsUnder(layer, free), 3)
        }))
    }

    it.effect("fails with every issue of the document", () =>
      Effect.gen(function*() {
        const issues = yield* issuesOf(PolicyLayer.fromDocument({
          schemaVersion: "2.0",
          policies: { [key]: { retry: { maxAttempts: 0 } } },
          extra: true
        }))
        assert.deepStrictEqual(issues.map(([path]) => path).toSorted(), [
          "extra",
          "policies svc.Method retry maxAttempts",
          "revision",
          "schemaVersion"
        ])
      }))

    it.effect("fails with every name that nobody provides, and finds those that somebody does", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.fromDocument(
          document({ policies: { [key]: { retry: {}, budget: "team", classifier: "team" } } })
        )
        assert.deepStrictEqual((yield* issuesOf(layer)).map(([path]) => path), [
          "policies svc.Method budget",
          "policies svc.Method classifier"
        ])
        const registries = Layer.mergeAll(
          Budget.layer("team", Budget.none),
          Classifier.layer({ team: Classifier.never })
        )
        assert.strictEqual(yield* runsUnder(layer.pipe(Layer.provide(registries)), key), 1)
      }))

    it.effect("refuses what is no document at all", () =>
      Effect.gen(function*() {
        for (const json of [undefined, null, 1, "x", [], {}]) {
          assert.isAbove((yield* issuesOf(PolicyLayer.fromDocument(json))).length, 0, String(json))
        }
      }))
  })

  it.effect("gives the merged policy of a key, and none for one that nothing matches", () =>
    Effect.gen(function*() {
      const policy = (name: string) =>
        Effect.flatMap(PolicyProvider.PolicyProvider, (provider) => provider.policy(name)).pipe((self) =>
          under(
            self,
            PolicyLayer.make({
              defaults: { idempotent: true },
              policies: { "svc.*": { retry: { maxAttempts: 2 } }, [key]: { timeout: { overall: 5 } } }
            })
          )
        )
      const sections = Option.getOrThrow(yield* policy(key)).sections
      assert.deepStrictEqual(
        { ...sections },
        {
          retry: { maxAttempts: 2 },
          timeout: { overall: Duration.millis(5) },
          hedge: undefined,
          budget: undefined,
          classifier: undefined,
          idempotent: true
        } as typeof sections
      )
      assert.isTrue(Option.isNone(yield* policy("other.Key")))
    }))
})
