/** Documents that change while calls run: what is carried over, what no call ever sees, and ten thousand documents. */
import { assert, describe, it } from "@effect/vitest"
import { Observer, PolicySource, Rego, Timeline } from "@rego/core"
import { Effect, Fiber, Option, Random, Schema } from "effect"
import { TestClock } from "effect/testing"
import { withSeed } from "../arbitraries.ts"
import { document, live, settle } from "../liveSupport.ts"
import { makeRandom } from "../random.ts"
import { fails, hangs, key, script, seed, succeeds } from "../support.ts"

const boom = "boom"

/** Says where only if it is wrong there: ten thousand messages cost more than what they are about. */
const check = (actual: unknown, expected: unknown, where: () => string): void => {
  if (!Object.is(actual, expected)) assert.strictEqual(actual, expected, where())
}

type Running = Effect.Success<ReturnType<typeof live>>

const call = <A, E>({ layer }: Running, effect: Effect.Effect<A, E>, name = key) =>
  Effect.forkChild(Effect.exit(Effect.provide(Rego.resilient(effect, name), layer)), { startImmediately: true })

const statisticsOf = ({ provider }: Running, name = key) =>
  Effect.map(provider.statistics(name), (statistics) => Option.getOrThrow(statistics))

describe("a change of the policies", () => {
  it.effect("carries the budget of a key", () =>
    Effect.gen(function*() {
      const policies = { "svc.*": { retry: { maxAttempts: 10, backoff: { type: "constant", delay: 1 } } } }
      const running = yield* live({ first: [{ policies }] })
      const balance = Effect.map(statisticsOf(running), ({ budget }) => budget.balance)
      yield* call(running, script(fails(boom)).effect)
      yield* TestClock.adjust(100)
      assert.isBelow(yield* balance, 1)
      yield* running.publish({ revision: "2", policies: { ...policies, "*": {} } })
      assert.isBelow(yield* balance, 1)
      const again = script(fails(boom))
      yield* call(running, again.effect)
      yield* TestClock.adjust(100)
      assert.strictEqual(again.runs, 1)
    }))

  it.effect("carries the latency of a key, and what its hedges did", () =>
    Effect.gen(function*() {
      const hedged = (delay: unknown) => ({
        "svc.*": { hedge: { trigger: { type: "after", delay } }, idempotent: true, budget: "unlimited" }
      })
      const running = yield* live({ first: [{ policies: hedged(10) }], guard: false })
      const facts = Effect.map(statisticsOf(running), ({ hedging }) =>
        Option.map(hedging, ({ hedges, latency }) => [hedges.started, latency.samples]))
      yield* call(running, script(succeeds("a", 50)).effect)
      yield* TestClock.adjust(100)
      const before = Option.getOrThrow(yield* facts)
      assert.deepStrictEqual(before[0], 1)
      yield* running.publish({ revision: "2", policies: hedged(20) })
      assert.deepStrictEqual(yield* facts, Option.some(before))
      // a policy without hedges takes no samples, and forgets none
      yield* running.publish({ revision: "3", policies: { "svc.*": {} } })
      assert.deepStrictEqual(yield* facts, Option.none())
      yield* call(running, script(succeeds("a", 50)).effect)
      yield* TestClock.adjust(100)
      yield* running.publish({ revision: "4", policies: hedged(20) })
      assert.deepStrictEqual(yield* facts, Option.some(before))
    }))

  it.effect("is told to the observers of the layer, and one that is refused is not", () =>
    Effect.gen(function*() {
      const swaps: Array<Timeline.Event> = []
      const observer = Observer.make({ onEvent: (event) => void swaps.push(event) })
      yield* Effect.gen(function*() {
        const running = yield* live({ first: [{ policies: {} }] })
        yield* TestClock.adjust(1_000)
        yield* running.publish({ revision: "2", policies: { "svc.*": {} } })
        yield* running.publish({ revision: "2", policies: { "svc.*": {} } })
        yield* running.publish({ revision: "3", policies: { "svc.*": { retry: { maxAttempts: "many" } } } })
        yield* Observer.flush
      }).pipe(Effect.provide(Observer.layer([observer])))
      for (const swap of swaps) assert.isTrue(Schema.is(Timeline.Event)(swap))
      assert.deepStrictEqual(swaps.at(-1), {
        _tag: "PolicySwapped",
        key: "*",
        call: 0,
        at: 1_000,
        revision: "2",
        source: "live",
        previous: "1"
      })
      assert.deepStrictEqual(swaps.map((swap) => "revision" in swap && swap.revision), ["1", "2"])
    }))

  it.effect("carries the count of attempts that were given up and still run", () =>
    Effect.gen(function*() {
      const policies = { "svc.*": { timeout: { perAttempt: 10 } } }
      const running = yield* live({ first: [{ policies }], limits: { shutdownTimeout: 0 } })
      yield* call(running, Effect.uninterruptible(script(hangs).effect))
      yield* TestClock.adjust(20)
      yield* running.publish({ revision: "2", policies: { "svc.*": { timeout: { perAttempt: 20 } } } })
      assert.strictEqual((yield* statisticsOf(running)).abandoned, 1)
    }))

  it.effect("reaches an operator that a service has taken before", () =>
    Effect.gen(function*() {
      const policies = (maxAttempts: number) => ({
        "svc.*": { retry: { maxAttempts, backoff: { type: "constant", delay: 1 } }, budget: "unlimited" }
      })
      const running = yield* live({ first: [{ policies: policies(2) }] })
      const resilient = yield* Effect.provide(Rego.makeResilient, running.layer)
      const attempts = Effect.gen(function*() {
        const failing = script(fails(boom))
        yield* Effect.forkChild(Effect.exit(resilient(failing.effect, key)), { startImmediately: true })
        yield* TestClock.adjust(100)
        return failing.runs
      })
      assert.strictEqual(yield* attempts, 2)
      yield* running.publish({ revision: "2", policies: policies(3) })
      assert.strictEqual(yield* attempts, 3)
    }))
})

// -----------------------------------------------------------------------------
// ten thousand documents
// -----------------------------------------------------------------------------

const policyOf = (maxAttempts: number, more: object = {}) => ({
  "svc.*": { retry: { maxAttempts, backoff: { type: "constant", delay: 1, jitter: "none" } }, budget: "p", ...more }
})

const bucketOf = (capacity: number) => ({ p: { type: "tokenBucket", capacity, refillPerSecond: 0 } })

interface Step {
  readonly kind: "good" | "clampable" | "bad"
  readonly json: unknown
  /** what is in force if it is taken */
  readonly attempts: number
  readonly capacity: number
}

type Draw = <A>(values: ReadonlyArray<A>) => A

const bad = (revision: string, inForce: string, draw: Draw): unknown =>
  draw<() => unknown>([
    () => null,
    () => "<html>502</html>",
    () => [],
    () => ({}),
    () => ({ error: "internal" }),
    () => JSON.parse(`{"schemaVersion":"1.0","revision":"${revision}","policies":{"__proto__":{"oops":1}}}`),
    () => ({ schemaVersion: "2.0", revision, policies: {} }),
    () => ({ schemaVersion: "1.0", revision, policies: policyOf(2), later: "typo" }),
    () => ({
      schemaVersion: "1.0",
      revision,
      policies: policyOf(2, { timeout: { overall: 0 } }),
      budgets: bucketOf(9)
    }),
    () => ({ schemaVersion: "1.0", revision, policies: policyOf(2, { timeout: { perAttempt: "1 sec" } }) }),
    () => ({ schemaVersion: "1.0", revision, policies: policyOf(NaN), budgets: bucketOf(9) }),
    () => ({ schemaVersion: "1.0", revision, policies: policyOf(2.5), budgets: bucketOf(9) }),
    () => ({ schemaVersion: "1.0", revision, policies: policyOf(2), budgets: { p: { type: "ratio", ratio: 10 } } }),
    () => ({ schemaVersion: "1.0", revision, policies: policyOf(2), budgets: bucketOf(0) }),
    () => ({ schemaVersion: "1.0", revision: inForce, policies: policyOf(7), budgets: bucketOf(77) })
  ])()

const stepOf = (i: number, inForce: string, draw: Draw): Step => {
  const kind = draw(["good", "clampable", "bad"] as const)
  const capacity = draw([5, 10, 20, 40])
  const base = { schemaVersion: "1.0", revision: String(i), budgets: bucketOf(capacity) }
  switch (kind) {
    case "good": {
      const attempts = draw([2, 3, 4, 5])
      return { kind, json: { ...base, policies: policyOf(attempts) }, attempts, capacity }
    }
    case "clampable":
      return { kind, json: { ...base, policies: policyOf(draw([11, 1e6])) }, attempts: 10, capacity }
    case "bad":
      return { kind, json: bad(String(i), inForce, draw), attempts: 0, capacity: 0 }
  }
}

describe("ten thousand good, clampable and bad documents", () => {
  it.effect(
    "leave the last good one in force, always, with its budget carried and each refusal explained",
    () =>
      Effect.gen(function*() {
        const random = makeRandom(Number(seed))
        const draw: Draw = (values) => values[Math.floor(random() * values.length)]!
        const running = yield* live({
          first: [{ revision: "0", policies: policyOf(3), budgets: bucketOf(10) }],
          guard: false
        })
        yield* call(running, script(succeeds("a")).effect)
        const good = { revision: "0", attempts: 3, capacity: 10 }
        let filled = 1
        const counts = { good: 0, clampable: 0, bad: 0 }
        for (let i = 1; i <= 10_000; i++) {
          const step = stepOf(i, good.revision, draw)
          counts[step.kind]++
          yield* running.say(PolicySource.document(step.json))
          const status = yield* running.status
          const report = running.memory.reports.at(-1)!
          const where = () => withSeed(`document ${i}: ${JSON.stringify(step.json)}`)
          check(running.memory.reports.length, i + 1, where)
          if (step.kind === "bad") {
            check(report._tag, "Rejected", where)
            check(report.issues.every(({ message }) => message.length > 5), true, where)
            check(Option.isSome(status.rejected), true, where)
          } else {
            check(report._tag, "Accepted", where)
            check(Option.isNone(status.rejected), true, where)
            check(status.clamped.length, step.kind === "clampable" ? 1 : 0, where)
            Object.assign(good, { revision: String(i), attempts: step.attempts, capacity: step.capacity })
          }
          check(status.revision, good.revision, where)
          const { budget } = yield* statisticsOf(running)
          check(budget.name, "p", where)
          check(Math.abs(budget.balance - filled * good.capacity) <= 1e-6, true, where)
          if (i % 50 !== 0) continue
          // a call now and then: it obeys the last good document, and spends from the budget that was carried
          const failing = script(fails(boom))
          yield* call(running, failing.effect)
          yield* TestClock.adjust(20)
          const tokens = Math.floor(budget.balance + 1e-6)
          const extras = Math.min(good.attempts - 1, tokens)
          check(failing.runs, 1 + extras, where)
          filled -= extras / good.capacity
          if (filled < 0.2) {
            yield* running.publish({ revision: `${i}b`, budgets: { p: { type: "ratio" } } })
            yield* running.publish({ revision: `${i}c`, policies: policyOf(2), budgets: bucketOf(10) })
            Object.assign(good, { revision: `${i}c`, attempts: 2, capacity: 10 })
            running.memory.reports.splice(-2)
            assert.strictEqual((yield* statisticsOf(running)).budget.balance, 0)
            filled = 0
          }
        }
        for (const count of Object.values(counts)) assert.isAbove(count, 3_000)
      }),
    60_000
  )
})

// -----------------------------------------------------------------------------
// under load
// -----------------------------------------------------------------------------

/** Every number of document n is made from n, so that a mixture would show. */
const numbersOf = (n: number) => ({ attempts: 1 + n % 5, delay: 1 + n % 7, perAttempt: 50 + n })

const documentOf = (n: number) => {
  const { attempts, delay, perAttempt } = numbersOf(n)
  const entry = {
    retry: { maxAttempts: attempts, backoff: { type: "constant", delay, jitter: "none" } },
    timeout: { perAttempt },
    budget: "unlimited"
  }
  return document({ revision: String(n), policies: { "a.*": entry, "b.*": entry, "*": entry } })
}

/** The call did what one document says, from its first attempt to its last. */
const assertWhole = (timeline: Timeline.Timeline, hung: boolean): void => {
  const { attempts, delay, perAttempt } = numbersOf(Number(timeline.policyRevision))
  const where = () => Timeline.render(timeline)
  check(timeline.attempts.length, hung ? 1 : attempts, where)
  for (const decision of timeline.decisions) {
    if (decision._tag === "BackoffScheduled") check(decision.delay, delay, where)
  }
  const [first] = timeline.attempts
  if (hung) check(Math.abs(first!.endedAt! - first!.startedAt - perAttempt) <= 0.001, true, where)
}

describe("two fibers that swap documents and a thousand that call", () => {
  it.effect("no call sees half a document", () =>
    Effect.gen(function*() {
      const running = yield* live({ guard: false, startupTimeout: 0 })
      yield* running.say(documentOf(0))
      let published = 0
      const swapping = (pause: number) =>
        Effect.andThen(Effect.suspend(() => running.memory.say(documentOf(++published))), Effect.sleep(pause)).pipe(
          Effect.repeat({ times: 200 }),
          Effect.forkChild({ startImmediately: true })
        )
      const revisions = new Set<string>()
      let calls = 0
      const calling = (i: number) =>
        Effect.gen(function*() {
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 400))
          const hung = i % 3 === 0
          const [, [timeline]] = yield* Timeline.capture(
            Rego.resilient(hung ? Effect.never : Effect.fail(boom), `${"abc"[i % 3]}.K${i % 20}`)
          )
          assertWhole(timeline!, hung)
          revisions.add(timeline!.policyRevision)
          calls++
        }).pipe(Effect.repeat({ times: 4 }), Effect.provide(running.layer))
      const callers = yield* Effect.forEach(Array.from({ length: 1_000 }, (_, i) => i), calling, {
        concurrency: "unbounded",
        discard: true
      }).pipe(Effect.forkChild({ startImmediately: true }))
      const swappers = [yield* swapping(2), yield* swapping(3)]
      for (let i = 0; i < 200; i++) {
        yield* TestClock.adjust(5)
        yield* settle
      }
      yield* TestClock.adjust("1 minute")
      yield* Effect.forEach([callers, ...swappers], Fiber.join)
      assert.deepStrictEqual([calls, published], [5_000, 402])
      assert.isAbove(revisions.size, 100)
    }).pipe(Random.withSeed(seed)), 60_000)
})
