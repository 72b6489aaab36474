import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, LastKnownGood, Observer, Outcome, Policy, PolicySource } from "@rego/core"
import type { PolicyProvider, Timeline } from "@rego/core"
import { Context, Duration, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { none } from "../src/KillSwitch.ts"
import type { SwitchedKeys, Switches } from "../src/PolicyDocument.ts"
import * as PolicySet from "../src/PolicySet.ts"
import type { Initial, Next } from "../src/ProviderState.ts"
import { ProviderState } from "../src/ProviderState.ts"
import { Supervisor } from "../src/Supervisor.ts"
import { settle } from "./liveSupport.ts"
import { status } from "./support.ts"

const setOf = (entries: Readonly<Record<string, Policy.Input>>, defaults: Policy.Input = {}) =>
  PolicySet.make(
    Object.fromEntries(Object.entries(entries).map(([pattern, input]) => [pattern, Policy.make(input).sections])),
    Policy.make(defaults).sections
  )

const attempts = (maxAttempts: number): Policy.Input => ({ retry: { maxAttempts, backoff: Backoff.none } })

const make = (initial: Partial<Initial> = {}) =>
  Effect.gen(function*() {
    const said: Array<Timeline.Event> = []
    const observer = { onEvent: (event: Timeline.Event) => void said.push(event) }
    const context = Context.add(
      yield* Effect.context<Scope.Scope>(),
      Observer.CurrentObservers,
      new Set([observer])
    )
    const state = yield* ProviderState.make(
      {
        set: setOf({ "a.*": {} }),
        onMissing: "fail",
        revision: "0",
        source: "local",
        budgets: {},
        switches: none,
        ...initial
      },
      { bounds: { maxKeys: 10, maxAbandoned: 1, maxAttemptRecords: 2 }, supervisor: new Supervisor(), context }
    )
    return { state, said, context: context as Context.Context<never> }
  })

const next = (more: Partial<Next> = {}): Next => ({
  set: setOf({ "a.*": attempts(2) }),
  revision: "1",
  source: "live",
  budgets: {},
  switches: none,
  confirmedAt: 0,
  rolledBack: false,
  clamped: [],
  issues: [],
  ...more
})

const off = (pattern: string, until = Infinity): SwitchedKeys => ({ pattern, until })
const shownOff = (pattern: string, until?: number) => ({ pattern, until: Option.fromUndefinedOr(until) })

const rejection: PolicyProvider.Rejection = {
  revision: Option.some("2"),
  issues: [{ path: [], message: "bad" }],
  at: 7
}
const lastError = new PolicySource.SourceError({ source: "memory", reason: { _tag: "Unavailable", detail: "gone" } })
const storeError = new LastKnownGood.StoreError({ store: "disk", operation: "save", detail: "full" })

/** What a subscriber is told, in order, and whether that has an end. */
const listening = (state: ProviderState) =>
  Effect.gen(function*() {
    const told: Array<PolicyProvider.PolicyChange> = []
    const fiber = yield* Effect.forkDetach(
      Stream.runForEach(state.changes, (change) => Effect.sync(() => told.push(change))),
      { startImmediately: true }
    )
    yield* settle
    return { told, fiber }
  })

describe("ProviderState", () => {
  describe("its status", () => {
    it.effect("begins with the policies of the layer, and nothing is wrong", () =>
      Effect.gen(function*() {
        const { state } = yield* make()
        assert.deepStrictEqual(yield* state.status, status({ revision: "0", source: "local" }))
        assert.deepStrictEqual([state.confirmedAt, state.storeError], [undefined, undefined])
      }))

    it.effect("shows what is switched off until the instant that it names", () =>
      Effect.gen(function*() {
        const switches = { off: [off("a.*"), off("b.*", 1_000)], hedgeOff: [off("c.*", 2_000), off("d.*")] }
        const { state } = yield* make({ switches })
        const seen = Effect.map(state.status, (status) => [status.off, status.hedgeOff])
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(yield* seen, [
          [shownOff("a.*"), shownOff("b.*", 1_000)],
          [shownOff("c.*", 2_000), shownOff("d.*")]
        ])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* seen, [[shownOff("a.*")], [shownOff("c.*", 2_000), shownOff("d.*")]])
        yield* TestClock.adjust(1_000)
        assert.deepStrictEqual(yield* seen, [[shownOff("a.*")], [shownOff("d.*")]])
      }))

    it.effect("counts the age from the last time that the source confirmed it, and never below 0", () =>
      Effect.gen(function*() {
        const { state } = yield* make()
        state.setSource("stale", 3_000)
        const age = Effect.map(state.status, (status) => Option.map(status.age, Duration.toMillis))
        assert.deepStrictEqual(yield* age, Option.some(0))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* age, Option.some(2_000))
        assert.strictEqual(state.confirmedAt, 3_000)
      }))

    it.effect("shows errors and refusals as they are set, each until it is over", () =>
      Effect.gen(function*() {
        const { state } = yield* make()
        const { told } = yield* listening(state)
        const wrong = Effect.map(state.status, (status) => [status.lastError, status.storeError, status.rejected])
        const [error, store, rejected] = [Option.some(lastError), Option.some(storeError), Option.some(rejection)]
        const missing = Option.none()

        state.setHealth({ lastError })
        assert.deepStrictEqual(yield* wrong, [error, missing, missing])
        yield* settle
        state.setHealth({ storeError })
        assert.deepStrictEqual(yield* wrong, [error, store, missing])
        assert.strictEqual(state.storeError, storeError)
        yield* settle
        state.setHealth({ rejected: rejection, lastError: undefined })
        assert.deepStrictEqual(yield* wrong, [missing, store, rejected])
        yield* settle
        state.confirm("live", 0, none)
        assert.deepStrictEqual(yield* wrong, [missing, store, missing])
        yield* settle
        state.reject(rejection, none)
        assert.deepStrictEqual(yield* wrong, [missing, store, rejected])
        yield* settle
        state.replace(next())
        assert.deepStrictEqual(yield* wrong, [missing, store, missing])
        yield* settle
        // each was heard of
        assert.deepStrictEqual(told.map(({ status }) => [status.lastError, status.storeError, status.rejected]), [
          [missing, missing, missing],
          [error, missing, missing],
          [error, store, missing],
          [missing, store, rejected],
          [missing, store, missing],
          [missing, store, rejected],
          [missing, store, missing]
        ])
      }))
  })

  describe("where policies come from", () => {
    it.effect("is in force with the time of it, unless it is there now", () =>
      Effect.gen(function*() {
        const { state } = yield* make()
        for (const source of ["stale", "lkg", "bundled", "live"] as const) {
          const confirmedAt = source === "live" ? undefined : 5
          state.setSource(source, 5)
          assert.deepStrictEqual([state.inForce.source, state.inForce.confirmedAt], [source, confirmedAt])
          state.replace(next({ source, confirmedAt: 5 }))
          assert.deepStrictEqual([state.inForce.source, state.inForce.confirmedAt], [source, confirmedAt])
          assert.strictEqual(state.confirmedAt, 5)
        }
        state.setSource("stale", 6)
        state.confirm("live", 8, none)
        assert.deepStrictEqual([state.inForce.source, state.inForce.confirmedAt], ["live", undefined])
        assert.strictEqual(state.confirmedAt, 8)
      }))

    it.effect("reaches what is bound, but for keys that have no policy, and whoever listens", () =>
      Effect.gen(function*() {
        const { context, state } = yield* make()
        state.replace(next())
        const bindings = ["a.Get", "b.Get"].map((key) => state.bindings.get(key, context))
        const sources = () => bindings.map(({ facts }) => [facts.source, facts.confirmedAt])
        const { told } = yield* listening(state)
        assert.deepStrictEqual(sources(), [["live", undefined], ["missing", undefined]])
        state.setSource("stale", 5)
        assert.deepStrictEqual(sources(), [["stale", 5], ["missing", 5]])
        yield* settle
        assert.deepStrictEqual(told.map(({ status }) => status.source), ["live", "stale"])
        assert.deepStrictEqual(["a.Get", "b.Get"].map((key) => state.bindings.get(key, context)), bindings)
      }))

    it.effect("that is the same as before is said to nobody, however often it is confirmed", () =>
      Effect.gen(function*() {
        const { context, state } = yield* make()
        state.replace(next())
        const { facts } = state.bindings.get("a.Get", context)
        const { told } = yield* listening(state)
        state.setSource("live", 60)
        yield* settle
        assert.strictEqual(state.confirmedAt, 60)
        assert.strictEqual(state.bindings.get("a.Get", context).facts, facts)
        assert.lengthOf(told, 1)
      }))
  })

  describe("switches", () => {
    const switchesOf = (state: ProviderState) => Effect.map(state.status, (status) => [status.off, status.hedgeOff])

    /** What calls are refused, and what the status shows. */
    const inForce = (state: ProviderState) =>
      Effect.map(switchesOf(state), (shown) => ({
        shown,
        calls: ["a.Get", "b.Get"].map((key) => [
          state.bindings.switches.isOff(key, "retry", state.clock),
          state.bindings.switches.isOff(key, "hedge", state.clock)
        ])
      }))

    const none = { off: undefined, hedgeOff: undefined }
    const cases: ReadonlyArray<readonly [said: Partial<Switches>, shown: ReadonlyArray<unknown>]> = [
      [{}, [[shownOff("a.*")], [shownOff("b.*")]]],
      [{ off: [] }, [[shownOff("a.*")], [shownOff("b.*")]]],
      [{ off: [], hedgeOff: [] }, [[shownOff("a.*")], [shownOff("b.*")]]],
      [{ off: [off("c.*")] }, [[shownOff("c.*")], [shownOff("b.*")]]],
      [{ hedgeOff: [off("c.*")] }, [[shownOff("a.*")], [shownOff("c.*")]]],
      [{ off: [off("c.*")], hedgeOff: [] }, [[shownOff("c.*")], []]]
    ]
    for (const [said, shown] of cases) {
      it.effect(`of a document that is still looked at: ${JSON.stringify(said)}`, () =>
        Effect.gen(function*() {
          const { state } = yield* make()
          state.switchOff({ off: [off("a.*")], hedgeOff: [off("b.*")] })
          assert.deepStrictEqual(yield* inForce(state), {
            shown: [[shownOff("a.*")], [shownOff("b.*")]],
            calls: [[true, true], [false, true]]
          })
          state.switchOff({ ...none, ...said })
          assert.deepStrictEqual(yield* switchesOf(state), shown)
        }))
    }

    it.effect("of a document that is refused are in force and shown, until another one is accepted", () =>
      Effect.gen(function*() {
        const { state } = yield* make()
        state.reject(rejection, { off: [off("a.*")], hedgeOff: undefined })
        assert.deepStrictEqual(yield* inForce(state), {
          shown: [[shownOff("a.*")], []],
          calls: [[true, true], [false, false]]
        })
        state.confirm("live", 0, { off: [], hedgeOff: [off("b.*")] })
        assert.deepStrictEqual(yield* inForce(state), {
          shown: [[], [shownOff("b.*")]],
          calls: [[false, false], [false, true]]
        })
      }))

    it.effect("reach the calls that wait when the policies are there, and before anybody is told", () =>
      Effect.gen(function*() {
        const { context, state } = yield* make()
        const { told } = yield* listening(state)
        const seen: Array<unknown> = []
        state.bindings.switches.waiting.add({
          onSwitch: () =>
            seen.push([state.inForce.revision, state.bindings.get("a.Get", context).plan.maxAttempts, told.length])
        })
        state.replace(next({ switches: { off: [off("a.*")], hedgeOff: [] } }))
        assert.deepStrictEqual(seen, [["1", 2, 1]])
      }))
  })

  describe("other policies", () => {
    it.effect("are in force for every key at once, with their budgets, and observers hear of them", () =>
      Effect.gen(function*() {
        const { context, said, state } = yield* make()
        const plan = () => state.bindings.get("a.Get", context).plan
        assert.strictEqual(plan().maxAttempts, 1)
        yield* TestClock.adjust("3 seconds")
        state.replace(next({ budgets: { small: { type: "tokenBucket", capacity: 1, refillPerSecond: 0 } } }))
        assert.strictEqual(plan().maxAttempts, 2)
        assert.isTrue(state.budgets.has("small"))
        state.tellSwapped("a.Get")
        yield* settle
        assert.deepStrictEqual<ReadonlyArray<unknown>>(said, [
          { _tag: "PolicySwapped", key: "*", call: 0, at: 3_000, revision: "1", source: "live", previous: "0" },
          { _tag: "PolicySwapped", key: "a.Get", call: 0, at: 3_000, revision: "1", source: "live" }
        ])
      }))

    it.effect("for one key reach that key alone, and are taken back", () =>
      Effect.gen(function*() {
        const { context, state } = yield* make()
        const { told } = yield* listening(state)
        const bindings = () => ["a.Get", "a.List"].map((key) => state.bindings.get(key, context))
        const [get, list] = bindings()
        state.replaceKey("a.Get", Policy.make(attempts(5)).sections)
        yield* settle
        assert.strictEqual(bindings()[0]!.plan.maxAttempts, 5)
        assert.strictEqual(bindings()[1], list)
        state.replaceKey("a.Get", undefined)
        yield* settle
        assert.strictEqual(bindings()[0]!.plan.maxAttempts, get!.plan.maxAttempts)
        assert.deepStrictEqual(told.map(({ differences }) => differences[0]?.after), [undefined, 5, undefined])
        assert.lengthOf(told, 3)
      }))
  })

  describe("changes", () => {
    it.effect("tell what is different in each section", () =>
      Effect.gen(function*() {
        const { state } = yield* make()
        const { told } = yield* listening(state)
        const bucket = { type: "tokenBucket", capacity: 1, refillPerSecond: 0 } as const
        state.replace(next({
          set: setOf({ "a.*": attempts(2) }, { idempotent: true }),
          budgets: { small: bucket },
          switches: { off: [off("a.*", 1_000)], hedgeOff: [off("b.*", 2_000)] }
        }))
        const { sections } = Policy.make({ idempotent: true })
        state.setOverrides([{ pattern: "b.*", change: "off", until: 9 }], [{ pattern: "b.*", sections }], {
          off: [off("b.*", 9)],
          hedgeOff: []
        })
        yield* settle
        const differences = (at: number) => told[at]!.differences.map(({ after, path }) => [path.join(" "), after])
        assert.deepStrictEqual(told.map(({ previous }) => previous), [
          Option.none(),
          Option.some("0"),
          Option.some("1")
        ])
        assert.deepStrictEqual(differences(0), [])
        assert.deepStrictEqual(differences(1), [
          ["defaults idempotent", true],
          ["budgets small type", "tokenBucket"],
          ["budgets small capacity", 1],
          ["budgets small refillPerSecond", 0],
          ["policies a.* retry maxAttempts", 2],
          ["policies a.* retry backoff _tag", "None"],
          ["off a.*", 1_000],
          ["hedgeOff b.*", 2_000]
        ])
        assert.deepStrictEqual(differences(2), [["overrides b.* idempotent", true], ["off b.*", 9]])
        assert.deepStrictEqual(told[2]!.status.overrides, [{ pattern: "b.*", change: "off", until: 9 }])
      }))

    it.effect("end when the layer does, for who waits and for who comes later; calls go on", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { context, state } = yield* Scope.provide(make(), scope)
        const early = yield* listening(state)
        assert.isUndefined(early.fiber.pollUnsafe())
        yield* Scope.close(scope, Exit.void)
        yield* settle
        const late = yield* listening(state)
        for (const { fiber, told } of [early, late]) {
          assert.isDefined(fiber.pollUnsafe())
          yield* Fiber.join(fiber)
          assert.lengthOf(told, 1)
        }
        assert.strictEqual(state.bindings.get("a.Get", context).facts.source, "local")
      }))
  })

  describe("statistics", () => {
    it.effect("are there for keys that were called", () =>
      Effect.gen(function*() {
        const hedge = { trigger: Hedge.after("1 second") }
        const { context, state } = yield* make({
          set: setOf({ "a.*": { budget: "none" }, "a.Hedge": { idempotent: true, hedge, budget: "unlimited" } })
        })
        assert.deepStrictEqual(yield* state.statistics("a.Get"), Option.none())
        state.bindings.get("a.Get", context).state.abandoned = 3
        assert.deepStrictEqual<unknown>(
          yield* state.statistics("a.Get"),
          Option.some({ key: "a.Get", abandoned: 3, budget: { name: "none", balance: 0 }, hedging: Option.none() })
        )
        assert.deepStrictEqual(yield* state.statistics("a.Other"), Option.none())
      }))

    it.effect("of a key that hedges hold its hedges, and its latency as of now", () =>
      Effect.gen(function*() {
        const hedge = { trigger: Hedge.after("1 second") }
        const { context, state } = yield* make({
          set: setOf({ "a.Hedge": { idempotent: true, hedge, budget: "unlimited" } })
        })
        const hedging = state.bindings.get("a.Hedge", context).hedging!
        hedging.onStarted(0)
        for (let i = 0; i < 20; i++) hedging.onOutcome(Outcome.success, 0, 100)
        yield* TestClock.adjust("1 second")
        const found = Option.getOrThrow(yield* state.statistics("a.Hedge"))
        assert.deepStrictEqual([found.key as string, found.abandoned, found.budget], ["a.Hedge", 0, {
          name: "unlimited",
          balance: Infinity
        }])
        const { hedges, latency } = Option.getOrThrow(found.hedging)
        assert.deepStrictEqual([hedges.started, latency.samples], [1, 20])
        yield* TestClock.adjust("1 hour")
        const later = Option.getOrThrow(Option.getOrThrow(yield* state.statistics("a.Hedge")).hedging)
        assert.strictEqual(later.latency.samples, 0)
      }))
  })
})
