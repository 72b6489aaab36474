import { assert, describe, it } from "@effect/vitest"
import { Budget, Observer, Policy, PolicyLayer, PolicyProvider, Rego, Timeline } from "@rego/core"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Random, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Line } from "./support.ts"
import { fails, key, regoErrorOf, script, seed, succeeds, withLog } from "./support.ts"

const boom = "boom"

const json = (maxAttempts: number, more: object = {}) => ({
  retry: { maxAttempts, backoff: { type: "constant", delay: 1, jitter: "none" } },
  budget: "unlimited",
  ...more
})

type Answer = Effect.Effect<Option.Option<unknown>, unknown>

const found = (policy: unknown): Answer => Effect.succeed(Option.some(policy))
const none: Answer = Effect.succeed(Option.none())

interface Control {
  answer: Answer
  readonly fetches: Array<string>
  readonly running: () => number
  readonly log: Array<Line>
  readonly provider: PolicyProvider.PolicyProvider["Service"]
}

const ttl = Duration.minutes(1)

/** A layer in the scope of the test; the test says what a fetch answers. */
const start = (answer: Answer, options: Partial<PolicyLayer.FetchOptions<unknown, never>> = {}) =>
  Effect.gen(function*() {
    let running = 0
    const log: Array<Line> = []
    const control = { answer, fetches: new Array<string>(), log, running: () => running }
    const layer = PolicyLayer.fetch({
      fetch: (asked) => {
        control.fetches.push(asked)
        return Effect.acquireUseRelease(
          Effect.sync(() => running++),
          () => Effect.suspend(() => control.answer),
          () => Effect.sync(() => running--)
        )
      },
      ttl,
      ...options
    })
    const provider = Context.get(yield* withLog(Layer.build(layer), log), PolicyProvider.PolicyProvider)
    return Object.assign(control, { provider }) as Control
  })

const under = ({ provider }: Control) => Effect.provideService(PolicyProvider.PolicyProvider, provider)

const begin = <A, E>(control: Control, effect: Effect.Effect<A, E>, name = key) =>
  Effect.forkChild(Effect.exit(under(control)(Rego.resilient(effect, name))), { startImmediately: true })

/** How often a call that fails runs its effect. */
const attempts = (control: Control, name = key) =>
  Effect.gen(function*() {
    const failing = script(fails(boom))
    const fiber = yield* begin(control, failing.effect, name)
    yield* TestClock.adjust(200)
    assert.isDefined(fiber.pollUnsafe())
    return failing.runs
  })

const timelineOf = (control: Control, name = key) =>
  Effect.map(under(control)(Rego.resilientWithTimeline(Effect.void, name)), ([, timeline]) => timeline)

const expired = TestClock.adjust(ttl)

describe("PolicyLayer.fetch", () => {
  describe("on the first sight of a key", () => {
    it.effect("a hundred calls are one fetch, and all get its policy", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.delay(found(json(3)), 50))
        const failing = script(fails(boom))
        const fibers = yield* Effect.forEach(Array.from({ length: 100 }), () => begin(control, failing.effect))
        yield* TestClock.adjust(40)
        assert.strictEqual(failing.runs, 0)
        yield* TestClock.adjust(50)
        assert.strictEqual(failing.runs, 300)
        assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
        assert.deepStrictEqual(control.fetches, [key])
      }))

    it.effect("a call waits for 100 ms at most, and then runs as one without a policy; the fetch goes on", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.delay(found(json(3)), 1_000))
        const failing = script(fails(boom))
        const fiber = yield* begin(control, failing.effect)
        yield* TestClock.adjust(99)
        assert.strictEqual(failing.runs, 0)
        yield* TestClock.adjust(1)
        assert.isDefined(fiber.pollUnsafe())
        assert.strictEqual(failing.runs, 1)
        yield* TestClock.adjust(900)
        assert.strictEqual(yield* attempts(control), 3)
        assert.deepStrictEqual(control.fetches, [key])
      }))

    it.effect("calls that come later do not wait for a fetch that is slow", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.delay(found(json(3)), 1_000))
        yield* begin(control, Effect.void)
        yield* TestClock.adjust(60)
        const second = yield* begin(control, Effect.void)
        yield* TestClock.adjust(40)
        assert.isDefined(second.pollUnsafe())
        const third = yield* begin(control, Effect.void)
        assert.isDefined(third.pollUnsafe())
        assert.lengthOf(control.fetches, 1)
      }))

    it.effect("obeys `timeout` and `onMissing`", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.never, { timeout: 5, onMissing: "fail" })
        const fiber = yield* begin(control, Effect.void)
        yield* TestClock.adjust(5)
        const exit = yield* fiber.pollUnsafe()!
        assert.strictEqual(regoErrorOf(exit).reason._tag, "PolicyMissing")
        const defaults = yield* start(Effect.never, { onMissing: "defaults", defaults: { budget: "unlimited" } })
        assert.strictEqual(yield* attempts(defaults), 3)
      }))

    it.effect("the wait counts for the deadline of the policy, and for no longer than the one around it", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.delay(found(json(3, { timeout: { overall: 80 } })), 50))
        const fiber = yield* Timeline.capture(under(control)(Rego.resilient(Effect.never, key))).pipe(
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust(50)
        yield* TestClock.adjust(30)
        const [exit, [timeline]] = yield* fiber.pollUnsafe()!
        assert.strictEqual(regoErrorOf(exit).reason._tag, "DeadlineExceeded")
        assert.strictEqual(timeline!.endedAt - timeline!.startedAt, 80)
        assert.strictEqual(timeline!.attempts[0]!.startedAt - timeline!.startedAt, 50)

        const outer = PolicyLayer.make({ policies: { outer: { timeout: { overall: 30 } } } })
        const slow = yield* start(Effect.never)
        let ran = 0
        const inner = under(slow)(Rego.resilient(Effect.sync(() => ran++), key))
        const nested = yield* Effect.forkChild(
          Effect.exit(Effect.provide(Rego.resilient(inner, "outer"), Layer.orDie(outer))),
          { startImmediately: true }
        )
        yield* TestClock.adjust(30)
        assert.isDefined(nested.pollUnsafe())
        assert.strictEqual(ran, 0)
      }))

    it.effect("a caller that is interrupted leaves the fetch to the others", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.delay(found(json(3)), 50))
        const first = yield* begin(control, Effect.void)
        const failing = script(fails(boom))
        yield* begin(control, failing.effect)
        yield* TestClock.adjust(10)
        yield* Fiber.interrupt(first)
        yield* TestClock.adjust(90)
        assert.strictEqual(failing.runs, 3)
        assert.lengthOf(control.fetches, 1)
      }))

    it.effect("a policy that is there at once is waited for by nobody", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(2)))
        const failing = script(succeeds("a"))
        const fiber = yield* begin(control, failing.effect)
        assert.isDefined(fiber.pollUnsafe())
        assert.strictEqual((yield* timelineOf(control)).policySource, "live")
      }))
  })

  describe("an answer", () => {
    it.effect("counts for its time, and is asked for again by the next call", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(2)))
        yield* attempts(control)
        yield* TestClock.adjust("50 seconds")
        assert.strictEqual(yield* attempts(control), 2)
        assert.lengthOf(control.fetches, 1)
        control.answer = found(json(4))
        yield* TestClock.adjust("10 seconds")
        // what is there serves the call that finds it old
        assert.strictEqual(yield* attempts(control), 2)
        assert.strictEqual(yield* attempts(control), 4)
        assert.lengthOf(control.fetches, 2)
      }))

    it.effect("that is old serves all calls while another one is fetched, once", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(2)))
        yield* attempts(control)
        yield* expired
        control.answer = Effect.delay(found(json(3)), "5 seconds")
        for (let i = 0; i < 10; i++) assert.strictEqual(yield* attempts(control), 2)
        assert.lengthOf(control.fetches, 2)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* attempts(control), 3)
      }))

    it.effect("of none is remembered for a shorter time", () =>
      Effect.gen(function*() {
        const control = yield* start(none, { negativeTtl: "5 seconds" })
        for (let i = 0; i < 10; i++) assert.strictEqual(yield* attempts(control), 1)
        assert.lengthOf(control.fetches, 1)
        assert.strictEqual((yield* timelineOf(control)).policySource, "missing")
        yield* TestClock.adjust("5 seconds")
        control.answer = found(json(3))
        yield* attempts(control)
        assert.strictEqual(yield* attempts(control), 3)
      }))

    it.effect("of none takes a policy away that was there", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(3)))
        assert.strictEqual(yield* attempts(control), 3)
        control.answer = none
        yield* expired
        yield* attempts(control)
        assert.strictEqual(yield* attempts(control), 1)
      }))

    it.effect("may be a policy in code, laid over the defaults", () =>
      Effect.gen(function*() {
        const policy = Policy.make({ retry: { maxAttempts: 4 } })
        const control = yield* start(found(policy), {
          defaults: { budget: "unlimited", timeout: { overall: "1 hour" } }
        })
        assert.strictEqual(yield* attempts(control), 4)
        const merged = Option.getOrThrow(yield* control.provider.policy(key))
        assert.isDefined(merged.sections.timeout)
      }))

    it.effect("in JSON is clamped", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(100)))
        assert.strictEqual(yield* attempts(control), 10)
        const hedge = { trigger: { type: "after", delay: "50 millis" }, maxHedges: 3 }
        control.answer = found(json(5, { hedge }))
        yield* expired
        yield* attempts(control)
        yield* attempts(control)
        const merged = Option.getOrThrow(yield* control.provider.policy(key)).sections.hedge
        assert.strictEqual(typeof merged === "object" ? merged.maxHedges : merged, 1)
      }))

    it.effect("keys that were called together do not come back together", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(1)))
        const keys = Array.from({ length: 200 }, (_, i) => `svc.K${i}`)
        const all = Effect.forEach(keys, (name) => begin(control, Effect.void, name), { discard: true })
        yield* all
        const atOnce: Array<number> = []
        for (let second = 0; second < 60; second++) {
          yield* TestClock.adjust("1 second")
          const before = control.fetches.length
          yield* all
          atOnce.push(control.fetches.length - before)
        }
        assert.strictEqual(control.fetches.length, 400)
        assert.isAtMost(Math.max(...atOnce), 60)
        assert.strictEqual(atOnce.slice(0, 53).reduce((a, b) => a + b), 0)
      }).pipe(Random.withSeed(seed)))
  })

  it.effect("the same answer again changes nothing, not even the object that calls look up", () =>
    Effect.gen(function*() {
      const control = yield* start(Effect.sync(() => Option.some(json(3))))
      const lookUp = Effect.gen(function*() {
        yield* under(control)(Rego.resilient(Effect.void, key))
        yield* TestClock.adjust(0)
        return control.provider["~@rego/core/PolicyProvider"].get(key, Context.empty())
      })
      const first = yield* lookUp
      yield* expired
      assert.strictEqual(yield* lookUp, first)
      assert.lengthOf(control.fetches, 2)
      control.answer = found(json(2))
      yield* expired
      yield* lookUp
      assert.notStrictEqual(yield* lookUp, first)
    }))

  it.effect("observers hear of a policy that took the place of another one, and of nothing else", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const observer: Observer.Observer = {
        onEvent: (event) => void (event._tag === "PolicySwapped" && heard.push(event.key))
      }
      const control = yield* start(found(json(2))).pipe(
        Effect.provideService(Observer.CurrentObservers, new Set([observer]))
      )
      const seen = new Array<number>()
      for (const maxAttempts of [2, 2, 3]) {
        control.answer = found(json(maxAttempts))
        yield* attempts(control)
        yield* expired
        seen.push(heard.length)
      }
      yield* attempts(control)
      assert.deepStrictEqual([seen, heard], [[0, 0, 1], [key]])
    }))

  describe("while the source is down", () => {
    it.effect("its error is in the status until every key that failed has an answer", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.fail(new Error("down")))
        const hasError = Effect.map(control.provider.status, ({ lastError }) => Option.isSome(lastError))
        const use = (name: string) => Effect.andThen(begin(control, Effect.void, name), TestClock.adjust(200))
        assert.isFalse(yield* hasError)
        yield* use("svc.A")
        yield* use("svc.B")
        assert.isTrue(yield* hasError)
        control.answer = found(json(3))
        yield* TestClock.adjust("1 hour")
        yield* use("svc.A")
        assert.isTrue(yield* hasError)
        yield* use("svc.B")
        assert.isFalse(yield* hasError)
      }))

    it.effect("the last policy stays in force, marked, and the source is asked less and less", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(3)))
        assert.strictEqual(yield* attempts(control), 3)
        control.answer = Effect.fail({ _tag: "Down", token: "secret" })
        yield* expired
        control.fetches.length = 0
        const perMinute: Array<number> = []
        for (let minute = 0; minute < 10; minute++) {
          const before = control.fetches.length
          for (let i = 0; i < 300; i++) assert.strictEqual(yield* attempts(control), 3)
          perMinute.push(control.fetches.length - before)
        }
        assert.isAtMost(perMinute[0]!, 8)
        for (const count of perMinute.slice(1)) assert.isAtMost(count, 2)
        const timeline = yield* timelineOf(control)
        assert.strictEqual(timeline.policySource, "stale")
        assert.isAbove(Number(timeline.attributes["policyAge"]), 600)
        const status = yield* control.provider.status
        assert.strictEqual(
          Option.getOrThrow(status.lastError).message,
          "policy source fetch: unavailable, policy of svc.Method: Down"
        )
        assert.notInclude(JSON.stringify([status, control.log]), "secret")
        assert.lengthOf(control.log.filter(({ message }) => message.includes("unavailable")), 1)
        // and back
        control.answer = found(json(2))
        yield* TestClock.adjust("1 minute")
        yield* attempts(control)
        assert.strictEqual(yield* attempts(control), 2)
        assert.strictEqual((yield* timelineOf(control)).policySource, "live")
        assert.deepStrictEqual((yield* control.provider.status).lastError, Option.none())
      }).pipe(Random.withSeed(seed)))

    it.effect("a failure is remembered for twice as long each time, up to a minute, and up to a quarter less", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.fail({ _tag: "Down" }))
        const fetchesOf = Effect.gen(function*() {
          yield* begin(control, Effect.void)
          yield* TestClock.adjust(0)
          return control.fetches.length
        })
        assert.strictEqual(yield* fetchesOf, 1)
        for (const [i, pause] of [1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => seconds * 1_000).entries()) {
          yield* TestClock.adjust(pause * 0.75 - 1)
          assert.strictEqual(yield* fetchesOf, i + 1, `before ${pause} ms`)
          yield* TestClock.adjust(pause * 0.25 + 1)
          assert.strictEqual(yield* fetchesOf, i + 2, `after ${pause} ms`)
        }
        const message = "rego: policy source fetch: unavailable, policy of svc.Method: Down"
        assert.deepStrictEqual(control.log.map((line) => line.message), [message])
      }))

    it.effect("a policy is called stale from its first failure to its next answer", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(3)))
        const seen: Array<unknown> = []
        for (const answer of [found(json(3)), Effect.fail("down"), found(json(3))]) {
          control.answer = answer
          yield* timelineOf(control)
          yield* TestClock.adjust(0)
          const { attributes, policySource } = yield* timelineOf(control)
          seen.push([policySource, attributes["policyAge"]])
          yield* expired
        }
        assert.deepStrictEqual(seen, [["live", undefined], ["stale", "60"], ["live", undefined]])
      }))

    it.effect("a key that was never answered waits once, and not for each call", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.fail("down"))
        assert.strictEqual(yield* attempts(control), 1)
        for (let i = 0; i < 3; i++) {
          const fiber = yield* begin(control, Effect.void)
          assert.isDefined(fiber.pollUnsafe())
        }
        assert.lengthOf(control.fetches, 1)
        yield* TestClock.adjust("1 second")
        control.answer = found(json(3))
        assert.strictEqual(yield* attempts(control), 3)
      }))

    it.effect("an answer is given up after `staleFor`", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(3)), { staleFor: "2 minutes" })
        yield* attempts(control)
        control.answer = Effect.fail("down")
        yield* TestClock.adjust("170 seconds")
        assert.strictEqual(yield* attempts(control), 3)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* attempts(control), 1)
        assert.strictEqual((yield* timelineOf(control)).policySource, "missing")
      }))

    const broken: ReadonlyArray<readonly [string, Answer, string]> = [
      ["dies", Effect.die("oops"), "a defect"],
      ["takes too long", Effect.never, "no answer within 10s"],
      ["fails with an error of a class", Effect.fail(new TypeError("secret")), "TypeError"],
      ["fails with text", Effect.fail("secret"), "string"]
    ]
    for (const [what, answer, detail] of broken) {
      it.effect(`a fetch that ${what} is a failure like any other`, () =>
        Effect.gen(function*() {
          const control = yield* start(found(json(3)))
          yield* attempts(control)
          control.answer = answer
          yield* expired
          yield* attempts(control)
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual(yield* attempts(control), 3)
          assert.strictEqual(
            Option.getOrThrow((yield* control.provider.status).lastError).message,
            `policy source fetch: unavailable, policy of svc.Method: ${detail}`
          )
        }))
    }

    it.effect("a cost that its budget can never grant is refused", () =>
      Effect.gen(function*() {
        const fetch = () => found(json(3, { budget: { name: "own", retryCost: 5 } }))
        const own = Budget.layer("own", Budget.tokenBucket({ capacity: 2, refillPerSecond: 1 }))
        const layer = Layer.provide(PolicyLayer.fetch({ fetch, ttl }), own)
        const provider = Context.get(yield* Layer.build(layer), PolicyProvider.PolicyProvider)
        yield* Effect.provideService(Rego.resilient(Effect.void, key), PolicyProvider.PolicyProvider, provider)
        const { rejected } = yield* provider.status
        assert.deepStrictEqual(Option.getOrThrow(rejected).issues.map(({ path }) => path.join(".")), [
          `policies.${key}.budget.retryCost`
        ])
      }))

    it.effect("what is refused changes nothing, and says why", () =>
      Effect.gen(function*() {
        const rows: ReadonlyArray<readonly [unknown, string]> = [
          [
            json(3, { timeout: { overall: 0 } }),
            "policies.svc.Method.timeout.overall: must be between 1ms and 1d, got 0"
          ],
          ["oops", "policies.svc.Method: Expected object, got \"oops\""],
          [
            json(3, { classifier: "novel" }),
            "policies.svc.Method.classifier: must name a classifier that is provided, got \"novel\""
          ],
          [
            json(10),
            "policies.svc.Method.retry.maxAttempts: attempts × (1 + hedges) must not rise above three times what the " +
            "key has now (3), got 10: say force: true if that is meant"
          ],
          [
            Policy.make({ retry: {}, budget: { name: "default", retryCost: 2 }, classifier: "novel" } as Policy.Input),
            "policies.svc.Method.classifier: must name a classifier that is provided, got \"novel\""
          ]
        ]
        for (const [answer, message] of rows) {
          const control = yield* start(found(json(3)))
          yield* attempts(control)
          control.answer = found(answer)
          yield* expired
          yield* attempts(control)
          assert.strictEqual(yield* attempts(control), 3)
          const { rejected } = yield* control.provider.status
          const [issue] = Option.getOrThrow(rejected).issues
          assert.strictEqual(`${issue!.path.join(".")}: ${issue!.message}`, message)
          assert.isTrue(control.log.some((line) => line.message.includes("its policy was refused")))
        }
      }))
  })

  describe("many keys", () => {
    it.effect("at most 10 fetches run at once", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.delay(found(json(1)), 1_000))
        for (let i = 0; i < 100; i++) yield* begin(control, Effect.void, `svc.K${i}`)
        yield* TestClock.adjust(0)
        assert.strictEqual(control.running(), 10)
        let most = 0
        for (let i = 0; i < 20; i++) {
          yield* TestClock.adjust(500)
          most = Math.max(most, control.running())
        }
        assert.strictEqual(most, 10)
        assert.lengthOf(control.fetches, 100)
      }))

    it.effect("those used least recently are dropped", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(2)), { capacity: 2 })
        for (const name of ["svc.A", "svc.B", "svc.A", "svc.C"]) yield* attempts(control, name)
        assert.deepStrictEqual(control.fetches, ["svc.A", "svc.B", "svc.C"])
        yield* attempts(control, "svc.A")
        assert.lengthOf(control.fetches, 3)
        yield* attempts(control, "svc.B")
        assert.deepStrictEqual(control.fetches.at(-1), "svc.B")
      }))

    it.effect("what is dropped is in force no more, and its failures count no more", () =>
      Effect.gen(function*() {
        const control = yield* start(none, { capacity: 1 })
        const asked = (name: string, answer: Answer) =>
          Effect.gen(function*() {
            control.answer = answer
            yield* attempts(control, name)
            return Option.isSome((yield* control.provider.status).lastError)
          })
        const failed = Effect.fail({ _tag: "Down" })
        assert.deepStrictEqual(
          [
            yield* asked("a.1", failed),
            yield* asked("a.2", found(json(2))),
            yield* asked("a.3", found(json(2))),
            yield* asked("a.4", failed),
            yield* asked("a.5", found(json(2)))
          ],
          [true, false, false, true, false]
        )
        const policies = yield* Effect.forEach(["a.2", "a.3", "a.5"], control.provider.policy)
        assert.deepStrictEqual(policies.map(Option.isSome), [false, false, true])
      }))

    it.effect("a policy that is dropped takes no budget with it", () =>
      Effect.gen(function*() {
        const retries = { retry: { maxAttempts: 10, backoff: { type: "constant", delay: 1, jitter: "none" } } }
        const control = yield* start(found(retries), { capacity: 1 })
        assert.strictEqual(yield* attempts(control, "svc.A"), 6)
        yield* attempts(control, "svc.B")
        assert.strictEqual(yield* attempts(control, "svc.A"), 1)
        assert.lengthOf(control.fetches, 3)
      }))

    it.effect("while all are being fetched further ones run without a policy", () =>
      Effect.gen(function*() {
        const control = yield* start(Effect.never, { capacity: 2 })
        for (const name of ["svc.A", "svc.B"]) yield* begin(control, Effect.void, name)
        const third = yield* begin(control, Effect.void, "svc.C")
        assert.isDefined(third.pollUnsafe())
        assert.deepStrictEqual(control.fetches, ["svc.A", "svc.B"])
      }))

    it.effect("keys that look like ids share one fetch", () =>
      Effect.gen(function*() {
        const control = yield* start(found(json(2)))
        for (let i = 0; i < 50; i++) yield* begin(control, Effect.void, `svc.${1_000_000 + i}`)
        assert.deepStrictEqual(control.fetches, ["svc._overflow"])
      }))
  })

  it.effect("fetches are interrupted when the layer closes", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      yield* Effect.scoped(Effect.gen(function*() {
        const control = yield* start(Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)))
        yield* begin(control, Effect.void)
        yield* TestClock.adjust(100)
      }))
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(Deferred.await(interrupted))))
    }))

  it.effect("nothing is fetched after the layer has closed: the last policies stay", () =>
    Effect.gen(function*() {
      const control = yield* Effect.scoped(Effect.tap(start(found(json(2))), (control) => attempts(control)))
      control.fetches.length = 0
      yield* expired
      assert.strictEqual(yield* attempts(control), 2)
      assert.strictEqual(yield* attempts(control, "svc.Other"), 1)
      assert.deepStrictEqual(control.fetches, [])
    }))

  it.effect("overrides and changes work as everywhere", () =>
    Effect.gen(function*() {
      const control = yield* start(found(json(2)))
      const changes = yield* Effect.forkChild(Stream.runCollect(Stream.take(control.provider.changes, 2)), {
        startImmediately: true
      })
      assert.strictEqual(yield* attempts(control), 2)
      yield* control.provider.override("svc.*", { retry: { maxAttempts: 5 } }, { for: "1 minute" })
      assert.strictEqual(yield* attempts(control), 5)
      const [, change] = yield* changes.pollUnsafe()!
      assert.deepInclude(change?.differences as ReadonlyArray<unknown>, {
        path: ["policies", key, "retry", "maxAttempts"],
        before: undefined,
        after: 2
      })
    }))

  it.effect("refuses wrong options with every issue", () =>
    Effect.gen(function*() {
      const wrong = {
        fetch: "no function",
        ttl: 0,
        capacity: 0,
        fetchTimeout: "1 hour",
        defaults: { retry: { maxAttempts: 0 } },
        mood: 1
      } as unknown as PolicyLayer.FetchOptions<never, never>
      const { issues } = yield* Effect.flip(Effect.scoped(Layer.build(PolicyLayer.fetch(wrong))))
      assert.sameMembers(issues.map(({ path }) => path.join(".")), [
        "fetch",
        "ttl",
        "capacity",
        "fetchTimeout",
        "defaults.retry.maxAttempts",
        "mood"
      ])
    }))
})
