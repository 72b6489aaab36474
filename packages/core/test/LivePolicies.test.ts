import { assert, describe, it } from "@effect/vitest"
import { Budget, Classifier, LastKnownGood, Outcome, PolicyProvider, PolicySource, Rego } from "@rego/core"
import { Cause, Clock, Duration, Effect, Layer, Metric, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as PolicyMetrics from "../src/PolicyMetrics.ts"
import type { LiveOptions } from "./liveSupport.ts"
import { document, live, settle, store, unavailable } from "./liveSupport.ts"
import { fails, hurried, key, script } from "./support.ts"

const retry = (maxAttempts: number, more: object = {}) => ({
  policies: {
    "svc.*": {
      retry: { maxAttempts, backoff: { type: "constant", delay: 1, jitter: "none" } },
      budget: "unlimited",
      ...more
    }
  }
})

const boom = "boom"

type Running = Effect.Success<ReturnType<typeof live>>

/** How often a call that always fails runs its effect. */
const attemptsOf = ({ layer }: Pick<Running, "layer">, name = key) =>
  Effect.gen(function*() {
    const failing = script(fails(boom))
    const fiber = yield* failing.effect.pipe(
      Rego.resilient(name),
      Effect.exit,
      Effect.provide(layer),
      Effect.forkChild({ startImmediately: true })
    )
    yield* TestClock.adjust("1 minute")
    assert.isDefined(fiber.pollUnsafe())
    return failing.runs
  })

/** What the timeline of a call says of its policy. */
const timelineOf = ({ layer }: Pick<Running, "layer">) =>
  Effect.map(
    Effect.provide(Rego.resilientWithTimeline(Effect.void, key), layer),
    ([, { attributes, policyRevision, policySource }]) => [policyRevision, policySource, attributes]
  )

const revisionOf = ({ status }: Running) => Effect.map(status, ({ revision, source }) => [revision, source])

const messages = (issues: ReadonlyArray<{ readonly path: ReadonlyArray<PropertyKey>; readonly message: string }>) =>
  issues.map(({ message, path }) => `${path.join(".")}: ${message}`)

const rejectionOf = ({ status }: Running) =>
  Effect.map(status, ({ rejected }) => Option.getOrUndefined(Option.map(rejected, ({ issues }) => messages(issues))))

describe("PolicyLayer.live", () => {
  describe("at boot", () => {
    it.effect("takes the first document of the source", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        assert.deepStrictEqual(yield* revisionOf(running), ["1", "live"])
        assert.strictEqual(yield* attemptsOf(running), 2)
        assert.deepStrictEqual(yield* timelineOf(running), ["1", "live", {}])
        assert.deepStrictEqual(running.memory.reports, [
          { _tag: "Accepted", revision: "1", rolledBack: false, clamped: [], issues: [] }
        ])
      }))

    it.effect("waits for it, for as long as `startupTimeout` says", () =>
      Effect.gen(function*() {
        for (const [startupTimeout, wait] of [[undefined, 2_000], ["5 seconds", 5_000]] as const) {
          const fiber = yield* Effect.forkChild(live({ startupTimeout }), { startImmediately: true })
          yield* settle
          yield* TestClock.adjust(wait - 1)
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust(1)
          yield* settle
          assert.isDefined(fiber.pollUnsafe())
        }
      }))

    it.effect("goes on without a policy when the source is down: one attempt, and all of it is visible", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(live(), { startImmediately: true })
        yield* TestClock.adjust("2 seconds")
        const running = yield* fiber.pollUnsafe()!
        yield* running.say(unavailable)
        const status = yield* running.status
        assert.deepStrictEqual([status.revision, status.source, status.age], ["none", "missing", Option.none()])
        assert.strictEqual(
          Option.getOrThrow(status.lastError).message,
          "policy source memory: unavailable, connection refused"
        )
        assert.strictEqual(yield* attemptsOf(running), 1)
        assert.deepStrictEqual(yield* timelineOf(running), ["none", "missing", {}])
        yield* running.publish(retry(3))
        assert.strictEqual(yield* attemptsOf(running), 3)
        assert.deepStrictEqual((yield* running.status).lastError, Option.none())
      }))

    it.effect("obeys `onMissing` while there is no document", () =>
      Effect.gen(function*() {
        const attempts = (options: LiveOptions) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(live(options), { startImmediately: true })
            yield* TestClock.adjust("2 seconds")
            return yield* attemptsOf(yield* fiber.pollUnsafe()!)
          })
        assert.strictEqual(yield* attempts({ onMissing: "defaults" }), 3)
        assert.strictEqual(yield* attempts({ onMissing: "fail" }), 0)
      }))

    it.effect("does not wait for the source when a document of an earlier process is there", () =>
      Effect.gen(function*() {
        const savedAt = yield* Clock.currentTimeMillis
        yield* TestClock.adjust("1 hour")
        const kept = store({ saved: { json: { schemaVersion: "1.0", revision: "old", ...retry(2) }, savedAt } })
        const running = yield* live({ store: kept })
        assert.deepStrictEqual(yield* revisionOf(running), ["old", "lkg"])
        assert.deepStrictEqual((yield* running.status).age, Option.some(Duration.hours(1)))
        assert.strictEqual(yield* attemptsOf(running), 2)
        const [revision, source, attributes] = yield* timelineOf(running)
        assert.deepStrictEqual([revision, source, attributes], ["old", "lkg", { policyAge: "3660" }])
        yield* running.publish({ revision: "new", ...retry(4) })
        assert.deepStrictEqual(yield* revisionOf(running), ["new", "live"])
        assert.deepStrictEqual(yield* timelineOf(running), ["new", "live", {}])
      }))

    it.effect("judges what an earlier process has left like any other document", () =>
      Effect.gen(function*() {
        const saved = (parts: object) => ({ json: { schemaVersion: "1.0", revision: "old", ...parts }, savedAt: 0 })
        const clamped = yield* live({ store: store({ saved: saved(retry(100)) }), first: [] })
        assert.strictEqual(yield* attemptsOf(clamped), 10)
        assert.lengthOf((yield* clamped.status).clamped, 1)
        const bad = saved({ policies: { "svc.*": { timeout: { overall: 0 } } } })
        const refused = yield* live({ store: store({ saved: bad }), first: [retry(2)] })
        assert.deepStrictEqual(yield* revisionOf(refused), ["1", "live"])
        assert.isTrue(refused.log.some(({ message }) => message.includes("the last known good document was refused")))
        // and is nothing to begin with: boot waits for the source
        const fiber = yield* Effect.forkChild(live({ store: store({ saved: bad }) }), { startImmediately: true })
        yield* Effect.repeat(settle, { times: 3 })
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* revisionOf(yield* fiber.pollUnsafe()!), ["none", "missing"])
      }))

    it.effect("keeps what an earlier process has left as it was: not confirmed, no way back, its revision taken", () =>
      Effect.gen(function*() {
        const saved = { json: { schemaVersion: "1.0", revision: "old", ...retry(2) }, savedAt: 0 }
        const running = yield* live({ store: store({ saved }) })
        assert.isFalse((yield* running.status).rolledBack)
        yield* running.say(PolicySource.unchanged)
        assert.deepStrictEqual(yield* revisionOf(running), ["old", "lkg"])
        yield* running.publish({ revision: "old", ...retry(3) })
        assert.deepStrictEqual(yield* rejectionOf(running), [
          "revision: must be a new one for other content (revision_reused), got \"old\""
        ])
      }))

    it.effect("switches off what a document of an earlier process does, though it is refused", () =>
      Effect.gen(function*() {
        const json = { schemaVersion: "1.0", revision: "8", policies: { "a.*": { retry: 3 } }, off: ["b.*"] }
        const running = yield* live({ store: store({ saved: { json, savedAt: 0 } }), startupTimeout: 0 })
        const { off, source } = yield* running.status
        assert.deepStrictEqual(off.map(({ pattern }) => pattern), ["b.*"])
        assert.strictEqual(source, "missing")
        yield* running.publish({ revision: "9" })
        assert.deepStrictEqual((yield* running.status).off, [])
      }))

    it.effect("leaves what is too old", () =>
      Effect.gen(function*() {
        const saved = { json: { schemaVersion: "1.0", revision: "old", ...retry(2) }, savedAt: 0 }
        yield* TestClock.adjust("30 days")
        assert.deepStrictEqual(yield* revisionOf(yield* live({ store: store({ saved }), first: [{}] })), ["1", "live"])
        yield* TestClock.adjust("1 millis")
        const running = yield* live({ store: store({ saved }), first: [{ ...retry(3) }], maxAge: "29 days" })
        assert.isTrue(running.log.some(({ message }) =>
          message ===
            "PolicyLayer: last known good policy in a store: could not load, it is 30d 1ms old, and counts for 29d"
        ))
      }))

    it.effect("takes a stamp from the future for one of now: clocks are set back", () =>
      Effect.gen(function*() {
        const saved = { json: { schemaVersion: "1.0", revision: "old", ...retry(2) }, savedAt: 1e12 }
        const running = yield* live({ store: store({ saved }) })
        assert.deepStrictEqual((yield* running.status).age, Option.some(Duration.zero))
        assert.deepStrictEqual((yield* timelineOf(running))[2], { policyAge: "0" })
      }))

    const broken: ReadonlyArray<readonly [string, LastKnownGood.LastKnownGood["Service"]["load"], string]> = [
      [
        "cannot be read",
        Effect.fail(new LastKnownGood.StoreError({ store: "disk", operation: "load", detail: "damaged" })),
        "last known good policy in disk: could not load, damaged"
      ],
      [
        "has a defect",
        Effect.die("oops"),
        "last known good policy in a store: could not load, a defect of the store"
      ],
      [
        "does not answer",
        Effect.never,
        "last known good policy in a store: could not load, no answer within 2s"
      ],
      [
        "does not answer and cannot be interrupted",
        Effect.uninterruptible(Effect.never),
        "last known good policy in a store: could not load, no answer within 2s"
      ]
    ]
    for (const [what, load, message] of broken) {
      it.effect(`goes on with the source when the store ${what}`, () =>
        Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(live({ store: store({ load }), first: [retry(2)] }), {
            startImmediately: true
          })
          yield* Effect.repeat(settle, { times: 3 })
          yield* TestClock.adjust("2 seconds")
          yield* Effect.repeat(settle, { times: 3 })
          const running = yield* fiber.pollUnsafe()!
          assert.deepStrictEqual(yield* revisionOf(running), ["1", "live"])
          assert.strictEqual(running.log.filter((line) => line.message.includes(message)).length, 1)
        }))
    }

    it.effect("reads the store also where it waits for no source: its disk needs a moment", () =>
      Effect.gen(function*() {
        const saved = { json: { schemaVersion: "1.0", revision: "old", ...retry(2) }, savedAt: 0 }
        const load = Effect.delay(Effect.succeed(Option.some(saved)), "50 millis")
        const fiber = yield* Effect.forkChild(live({ store: store({ load }), startupTimeout: 0 }), {
          startImmediately: true
        })
        yield* Effect.repeat(settle, { times: 3 })
        yield* TestClock.adjust("50 millis")
        yield* Effect.repeat(settle, { times: 3 })
        assert.deepStrictEqual(yield* revisionOf(yield* fiber.pollUnsafe()!), ["old", "lkg"])
      }))

    it.effect("falls back on the document that came with the application", () =>
      Effect.gen(function*() {
        const bundled = { schemaVersion: "1.0", revision: "shipped", ...retry(2) }
        const fiber = yield* Effect.forkChild(live({ bundled }), { startImmediately: true })
        yield* TestClock.adjust("2 seconds")
        const running = yield* fiber.pollUnsafe()!
        assert.deepStrictEqual(yield* revisionOf(running), ["shipped", "bundled"])
        assert.strictEqual(yield* attemptsOf(running), 2)
        assert.deepStrictEqual(yield* timelineOf(running), ["shipped", "bundled", {}])
        // it says nothing about what the source may have: neither its revisions nor its steps are compared
        yield* running.publish({ revision: "shipped", ...retry(9) })
        assert.deepStrictEqual(yield* revisionOf(running), ["shipped", "live"])
        assert.strictEqual(yield* attemptsOf(running), 9)
      }))

    it.effect("fails when the bundled document is refused, or an option is wrong, with every issue", () =>
      Effect.gen(function*() {
        const bundled = { schemaVersion: "1.0", revision: "1", ...retry(2), more: 1, policies: { a: { timeout: 5 } } }
        const refused = yield* Effect.flip(live({ bundled }))
        assert.strictEqual(refused.issues.length, 2)
        assert.deepStrictEqual(refused.issues.map(({ path }) => path[0]), ["bundled", "bundled"])
        const wrong = yield* Effect.flip(live({ startupTimeout: "1 hour", maxAge: 0, limits: { maxKeys: 0 } }))
        assert.deepStrictEqual(wrong.issues.map(({ path }) => path.join(".")), [
          "startupTimeout",
          "maxAge",
          "limits.maxKeys"
        ])
      }))
  })

  describe("a document", () => {
    it.effect("takes the place of the one before for all keys at once", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        assert.strictEqual(yield* attemptsOf(running), 2)
        yield* running.publish({ revision: "2", ...retry(4) })
        assert.strictEqual(yield* attemptsOf(running), 4)
        assert.strictEqual(yield* attemptsOf(running, "svc.Other"), 4)
      }))

    it.effect("leaves calls in flight the policy that they began with", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(3)] })
        const failing = script(fails(boom, 10))
        const fiber = yield* failing.effect.pipe(
          Rego.resilientWithTimeline(key),
          Effect.exit,
          Effect.provide(running.layer),
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust(5)
        yield* running.publish({ revision: "2", ...retry(1) })
        yield* TestClock.adjust("1 second")
        assert.strictEqual(failing.runs, 3)
        assert.isDefined(fiber.pollUnsafe())
        assert.strictEqual(yield* attemptsOf(running), 1)
      }))

    it.effect("is clamped, and says so", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [{ ...retry(100), revision: "7" }] })
        assert.strictEqual(yield* attemptsOf(running), 10)
        const clamped = [{ path: ["policies", "svc.*", "retry", "maxAttempts"], value: 100, limit: 10 }]
        assert.deepStrictEqual((yield* running.status).clamped, clamped)
        assert.deepStrictEqual(running.memory.reports, [
          { _tag: "Accepted", revision: "7", rolledBack: false, clamped, issues: [] }
        ])
        assert.isTrue(running.log.some(({ message }) =>
          message === "PolicyLayer: revision 7 is in force\n" +
              "policies[\"svc.*\"].retry.maxAttempts: was 100, taken as 10"
        ))
      }))

    const bad: ReadonlyArray<readonly [string, PolicySource.Found, ReadonlyArray<string>]> = [
      ["with a timeout of 0", document({ revision: "2", policies: { a: { timeout: { overall: 0 } } } }), [
        "policies.a.timeout.overall: must be between 1ms and 1d, got 0"
      ]],
      ["with a ratio of 10", document({ revision: "2", budgets: { p: { type: "ratio", ratio: 10 } } }), [
        "budgets.p.ratio: must be a number between 0 and 0.5, got 10"
      ]],
      ["with an unknown field", document({ revision: "2", polices: {} }), [
        "polices: is not a field that is known here, got {}"
      ]],
      ["of another major version", document({ revision: "2", schemaVersion: "2.0" }), [
        "schemaVersion: must have the major version 1, got \"2.0\""
      ]],
      ["that is none", PolicySource.document("oops"), [": Expected object, got \"oops\""]],
      ["with the revision of another one", document({ ...retry(9) }), [
        "revision: must be a new one for other content (revision_reused), got \"1\""
      ]],
      [
        "that makes a large step",
        document({ revision: "2", ...retry(10) }),
        [
          "policies.svc.*.retry.maxAttempts: attempts × (1 + hedges) must not rise above three times what the key has " +
          "now (2), got 10: say force: true if that is meant"
        ]
      ],
      [
        "with a cost that its budget can never grant",
        document({
          revision: "2",
          budgets: { p: { type: "tokenBucket", capacity: 2, refillPerSecond: 1 } },
          ...retry(2, { budget: { name: "p", retryCost: 3 } })
        }),
        ["policies.svc.*.budget.retryCost: must be at most what the budget \"p\" can ever grant (2), got 3"]
      ]
    ]
    for (const [what, found, issues] of bad) {
      it.effect(`${what} is refused: nothing changes, and everybody is told`, () =>
        Effect.gen(function*() {
          const running = yield* live({ first: [retry(2)] })
          yield* running.say(found)
          assert.strictEqual(yield* attemptsOf(running), 2)
          const status = yield* running.status
          assert.deepStrictEqual([status.revision, status.source], ["1", "stale"])
          const rejected = Option.getOrThrow(status.rejected)
          assert.deepStrictEqual(messages(rejected.issues), issues)
          const report = running.memory.reports.at(-1)
          assert.deepStrictEqual(report, {
            _tag: "Rejected",
            revision: rejected.revision,
            issues: rejected.issues
          })
          const name = Option.match(rejected.revision, { onNone: () => "a document", onSome: (at) => `revision ${at}` })
          assert.isTrue(running.log.some(({ level, message }) =>
            level === "Warn" && message.startsWith(`PolicyLayer: ${name} was refused`)
          ))
          // and the next good one is taken
          yield* running.publish({ revision: "3", ...retry(3) })
          assert.strictEqual(yield* attemptsOf(running), 3)
          assert.deepStrictEqual((yield* running.status).rejected, Option.none())
        }))
    }

    it.effect("that no longer defines a budget which is provided is judged by that one", () =>
      Effect.gen(function*() {
        const running = yield* live({
          first: [{ budgets: { p: { type: "tokenBucket", capacity: 2, refillPerSecond: 1 } }, ...retry(2) }],
          registries: Budget.layer("p", Budget.unlimited) as unknown as Layer.Layer<never>
        })
        yield* running.publish({ revision: "2", ...retry(3, { budget: { name: "p", retryCost: 3 } }) })
        assert.deepStrictEqual((yield* running.status).rejected, Option.none())
        assert.strictEqual(yield* attemptsOf(running), 3)
      }))

    it.effect("that is refused again and again is logged once and counted each time", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const counter = PolicyMetrics.of("memory").rejected
        const before = (yield* Metric.value(counter)).count
        for (let i = 0; i < 5; i++) yield* running.publish({ revision: "2", oops: 1 })
        assert.lengthOf(running.log.filter(({ message }) => message.includes("was refused")), 1)
        assert.lengthOf(running.memory.reports, 6)
        assert.strictEqual((yield* Metric.value(counter)).count - before, 5)
      }))

    it.effect("that is wrong everywhere does not fill the memory with issues", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        for (
          const [wrong, last] of [
            [100, { path: ["policies", "a.K99", "x"], message: "is not a field that is known here, got 1" }],
            [101, { path: [], message: "and 2 more" }],
            [5_000, { path: [], message: "and 4901 more" }]
          ] as const
        ) {
          const policies = Object.fromEntries(Array.from({ length: wrong }, (_, i) => [`a.K${i}`, { x: 1 }]))
          yield* running.publish({ revision: "2", policies })
          const { issues } = Option.getOrThrow((yield* running.status).rejected)
          assert.lengthOf(issues, 100)
          assert.deepStrictEqual(issues.at(-1), last)
        }
      }))

    it.effect("that breaks the gate itself is refused, and the next one is heard", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const broken = {
          get policies() {
            throw new Error("oops")
          }
        }
        yield* running.say(PolicySource.document(broken))
        const { rejected } = yield* running.status
        const { issues, revision } = Option.getOrThrow(rejected)
        assert.deepStrictEqual(
          { issues, revision },
          { issues: [{ path: [], message: "could not be judged: Error: oops" }], revision: Option.none() }
        )
        yield* running.publish({ revision: "2", ...retry(3) })
        assert.deepStrictEqual(yield* revisionOf(running), ["2", "live"])
      }))

    it.effect("with what is probably not meant is warned of once, and of a thousand things at most", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const warned = () => running.log.filter(({ message }) => message.startsWith("rego ")).length
        const many = (name: string) => ({
          revision: name,
          policies: Object.fromEntries(
            Array.from({ length: 600 }, (_, i) => [`${name}.K${i}`, { retry: { maxAttempts: 2 } }])
          )
        })
        const counts = [warned()]
        for (const parts of [{ revision: "2", ...retry(3) }, many("a"), many("b"), many("c")]) {
          yield* running.publish(parts)
          counts.push(warned())
        }
        assert.deepStrictEqual(counts, [2, 2, 602, 1_000, 1_000])
      }))

    it.effect("may make no large step with the defaults, where keys that no entry matches get them", () =>
      Effect.gen(function*() {
        const withDefaults = (overall: string) => ({ defaults: { timeout: { overall } } })
        const running = yield* live({ first: [withDefaults("10 seconds")], onMissing: "defaults" })
        yield* running.publish({ revision: "2", ...withDefaults("10 millis") })
        const { rejected, revision } = yield* running.status
        assert.deepStrictEqual([revision, Option.isSome(rejected)], ["1", true])
      }))

    it.effect("may make a large step when its entry says so, or when the guard is off", () =>
      Effect.gen(function*() {
        const forced = yield* live({ first: [retry(2)] })
        yield* forced.publish({ revision: "2", ...retry(10, { force: true }) })
        assert.strictEqual(yield* attemptsOf(forced), 10)
        const unguarded = yield* live({ first: [retry(2)], guard: false })
        yield* unguarded.publish({ revision: "2", ...retry(10) })
        assert.strictEqual(yield* attemptsOf(unguarded), 10)
      }))

    it.effect("may make any step after a restart: the rest of the fleet has made it already", () =>
      Effect.gen(function*() {
        const saved = { json: { schemaVersion: "1.0", revision: "old", ...retry(1) }, savedAt: 0 }
        const running = yield* live({ store: store({ saved }) })
        yield* running.publish({ revision: "2", ...retry(10) })
        assert.strictEqual(yield* attemptsOf(running), 10)
      }))

    it.effect("that was in force before is taken again, however large the step back is", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(9)] })
        yield* running.publish({ revision: "2", ...retry(1) })
        assert.isFalse((yield* running.status).rolledBack)
        yield* running.publish({ revision: "1", ...retry(9) })
        assert.strictEqual(yield* attemptsOf(running), 9)
        assert.isTrue((yield* running.status).rolledBack)
        const report = running.memory.reports.at(-1)
        assert.isTrue(report?._tag === "Accepted" && report.rolledBack)
        assert.isTrue(
          running.log.some(({ message }) => message === "PolicyLayer: revision 1 is in force again (rolled_back)")
        )
        yield* running.publish({ revision: "3", ...retry(9) })
        assert.isFalse((yield* running.status).rolledBack)
      }))

    it.effect("with the revision of an older one and other content is refused", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        yield* running.publish({ revision: "2", ...retry(3) })
        yield* running.publish({ revision: "1", ...retry(4) })
        assert.deepStrictEqual(yield* rejectionOf(running), [
          "revision: must be a new one for other content (revision_reused), got \"1\""
        ])
        // one that was refused was never in force: its revision is free
        yield* running.publish({ revision: "4", oops: 1 })
        yield* running.publish({ revision: "4", ...retry(5) })
        assert.deepStrictEqual(yield* revisionOf(running), ["4", "live"])
      }))

    it.effect("with the revision of one before the last hundred is taken", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(1)], guard: false })
        const take = (revision: number, attempts: number) =>
          Effect.andThen(
            running.publish({ revision: String(revision), ...retry(attempts) }),
            Effect.map(running.status, ({ rejected }) => Option.isNone(rejected))
          )
        for (let revision = 2; revision <= 100; revision++) yield* take(revision, 1)
        // what comes back is the latest again
        yield* take(1, 1)
        yield* take(101, 1)
        assert.deepStrictEqual([yield* take(1, 2), yield* take(3, 2), yield* take(2, 2)], [false, false, true])
      }))

    it.effect("that comes again changes nothing, and confirms what is in force", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const before = running.provider["~@rego/core/PolicyProvider"].get(key, yield* Effect.context<never>())
        yield* running.publish({ revision: "2", oops: 1 })
        yield* TestClock.adjust("1 hour")
        // fields in another order are the same content
        yield* running.say(PolicySource.document({ ...retry(2), revision: "1", schemaVersion: "1.0" }))
        const status = yield* running.status
        assert.deepStrictEqual([status.source, status.age, status.rejected], [
          "live",
          Option.some(Duration.zero),
          Option.none()
        ])
        assert.strictEqual(
          running.provider["~@rego/core/PolicyProvider"].get(key, yield* Effect.context<never>()),
          before
        )
        assert.deepStrictEqual(
          running.memory.reports.map((report) => report._tag === "Accepted" ? report.rolledBack : report._tag),
          [false, "Rejected", false]
        )
        assert.lengthOf(running.log.filter(({ message }) => message.includes("is in force")), 1)
      }))

    it.effect("of a newer minor version is taken, and says what was ignored", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [{ ...retry(2), schemaVersion: "1.7", mood: "good" }] })
        assert.strictEqual(yield* attemptsOf(running), 2)
        assert.deepStrictEqual(messages((yield* running.status).issues), [
          "mood: is not a field that is known here, got \"good\""
        ])
      }))

    it.effect("with names of what every object inherits changes no object", () =>
      Effect.gen(function*() {
        const json: unknown = JSON.parse(
          `{"schemaVersion":"1.0","revision":"2","policies":{"__proto__":{"retry":{"maxAttempts":99}},` +
            `"constructor":{"retry":{"maxAttempts":4}},"*":{"budget":"unlimited"}}}`
        )
        const running = yield* live({ first: [retry(2)] })
        yield* running.say(PolicySource.document(json))
        assert.strictEqual(yield* attemptsOf(running, "constructor"), 4)
        assert.strictEqual(yield* attemptsOf(running, "__proto__"), 10)
        assert.strictEqual(yield* attemptsOf(running, "toString"), 1)
        assert.isUndefined(({} as { retry?: unknown }).retry)
      }))

    it.effect("nested deeper than the stack is refused, or taken, and nothing breaks", () =>
      Effect.gen(function*() {
        const deep: unknown = JSON.parse(`${"[".repeat(20_000)}${"]".repeat(20_000)}`)
        const running = yield* live({ first: [retry(2)] })
        yield* running.publish({ revision: "2", later: deep })
        assert.lengthOf((yield* rejectionOf(running)) ?? [], 1)
        yield* running.publish({ revision: "3", schemaVersion: "1.9", later: deep, ...retry(3) })
        assert.strictEqual(yield* attemptsOf(running), 3)
      }))
  })

  describe("an entry that names what is not known here", () => {
    const registries = Layer.mergeAll(
      Budget.layer("payments", Budget.unlimited),
      Classifier.layer({ strict: Classifier.make(() => Outcome.nonRetryable({ reason: "strict" })) })
    ) as unknown as Layer.Layer<never>

    it.effect("keeps its last good version, and only that one", () =>
      Effect.gen(function*() {
        const policies = (a: object, b: object) => ({ policies: { "a.*": a, "b.*": b } })
        const attempts = (maxAttempts: number) => ({
          retry: { maxAttempts, backoff: { type: "constant", delay: 1 } },
          budget: "unlimited"
        })
        const running = yield* live({ first: [policies(attempts(2), attempts(2))], registries, guard: false })
        const next = { revision: "2", ...policies({ ...attempts(5), classifier: "novel" }, attempts(5)) }
        yield* running.publish(next)
        assert.strictEqual(yield* attemptsOf(running, "a.Get"), 2)
        assert.strictEqual(yield* attemptsOf(running, "b.Get"), 5)
        const status = yield* running.status
        assert.deepStrictEqual([status.revision, status.source], ["2", "live"])
        assert.deepStrictEqual(messages(status.issues), [
          "policies.a.*.classifier: must name a classifier that is provided, got \"novel\""
        ])
        const report = running.memory.reports.at(-1)
        assert.deepStrictEqual(report?._tag === "Accepted" ? report.issues : [], status.issues)
        assert.isTrue(running.log.some(({ message }) => message.endsWith("got \"novel\" (not taken)")))
        // and once more: it is the last version that was good, not the last one
        yield* running.publish({ revision: "3", ...policies({ ...attempts(6), classifier: "newer" }, attempts(6)) })
        assert.strictEqual(yield* attemptsOf(running, "a.Get"), 2)
      }))

    it.effect("gets one attempt where it was never good, whatever it inherits", () =>
      Effect.gen(function*() {
        const running = yield* live({
          first: [{
            defaults: { timeout: { overall: "1 minute" } },
            policies: {
              "*": { retry: { maxAttempts: 4 } },
              "svc.Budget": { budget: "novel" },
              "svc.HedgeBudget": { hedge: { trigger: { type: "after", delay: 1 }, budget: "novel" } },
              "svc.Trigger": { hedge: { trigger: "novel" } },
              "svc.Classifier": { classifier: "novel" },
              "svc.Rollout": { rollout: { percent: 0, change: { classifier: "novel" } } },
              "svc.Known": { budget: "payments", classifier: "strict" }
            }
          }],
          registries
        })
        for (const name of ["Budget", "HedgeBudget", "Trigger", "Classifier", "Rollout"]) {
          assert.strictEqual(yield* attemptsOf(running, `svc.${name}`), 1, name)
        }
        assert.strictEqual(yield* attemptsOf(running, "other.Get"), 4)
        assert.deepStrictEqual((yield* running.status).issues.map(({ path }) => path.join(".")), [
          "policies.svc.Budget.budget",
          "policies.svc.HedgeBudget.hedge.budget",
          "policies.svc.Trigger.hedge.trigger",
          "policies.svc.Classifier.classifier",
          "policies.svc.Rollout.rollout.change.classifier"
        ])
      }))

    it.effect("keeps the budget that only its last good version knows", () =>
      Effect.gen(function*() {
        const running = yield* live({
          first: [{
            budgets: { p: { type: "tokenBucket", capacity: 2, refillPerSecond: 0 } },
            ...retry(10, { budget: "p" })
          }]
        })
        yield* running.publish({ revision: "2", ...retry(10, { budget: "p" }) })
        assert.lengthOf((yield* running.status).issues, 1)
        assert.strictEqual(yield* attemptsOf(running), 3)
        assert.strictEqual(yield* attemptsOf(running), 1)
      }))

    it.effect("refuses the document where all or nothing is wanted", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)], onInvalidEntry: "refuse-document" })
        yield* running.publish({ revision: "2", ...retry(3, { classifier: "novel" }) })
        assert.deepStrictEqual(yield* revisionOf(running), ["1", "stale"])
        assert.deepStrictEqual(yield* rejectionOf(running), [
          "policies.svc.*.classifier: must name a classifier that is provided, got \"novel\""
        ])
      }))
  })

  describe("when the source goes", () => {
    it.effect("the last document stays in force, for ever, and shows its age", () =>
      Effect.gen(function*() {
        // what is kept on a disk gets too old, what is in force does not
        const running = yield* live({ first: [retry(2)], maxAge: "1 day" })
        yield* TestClock.adjust("10 seconds")
        yield* running.say(unavailable)
        yield* TestClock.adjust("3 days")
        assert.strictEqual(yield* attemptsOf(running), 2)
        const status = yield* running.status
        assert.deepStrictEqual([status.revision, status.source], ["1", "stale"])
        assert.isTrue(Option.isSome(status.lastError))
        assert.deepStrictEqual((yield* timelineOf(running)).slice(0, 2), ["1", "stale"])
        const { age } = PolicyMetrics.of("memory")
        assert.isAtLeast((yield* Metric.value(age)).value, 3 * 86_400)
        yield* running.say(PolicySource.unchanged)
        assert.deepStrictEqual(yield* revisionOf(running), ["1", "live"])
        assert.deepStrictEqual((yield* running.status).lastError, Option.none())
        assert.deepStrictEqual(yield* timelineOf(running), ["1", "live", {}])
      }))

    it.effect("says so once, and again when the reason is another one", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        for (let i = 0; i < 10; i++) yield* running.say(unavailable)
        assert.lengthOf(running.log.filter(({ message }) => message.includes("unavailable")), 1)
        const unauthorized = new PolicySource.SourceError({
          source: "memory",
          reason: { _tag: "Unauthorized", detail: "401" }
        })
        yield* running.say(PolicySource.failed(unauthorized))
        assert.deepStrictEqual(
          running.log.filter(({ level }) => level === "Error").map(({ message }) => message),
          ["PolicyLayer: policy source memory: not authorized, 401"]
        )
        assert.deepStrictEqual((yield* running.status).lastError, Option.some(unauthorized))
      }))

    it.effect("a source that says `unchanged` of a document that was refused confirms nothing", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        yield* running.publish({ revision: "2", oops: 1 })
        yield* running.say(PolicySource.unchanged)
        const status = yield* running.status
        assert.deepStrictEqual([status.revision, status.source], ["1", "stale"])
        assert.isTrue(Option.isSome(status.rejected))
      }))

    it.effect("its stream is started again when it ends or dies, later each time", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        yield* running.memory.end
        assert.strictEqual(
          Option.getOrThrow((yield* running.status).lastError).message,
          "policy source memory: unavailable, its stream has ended"
        )
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.strictEqual(running.memory.starts, 2)
        yield* running.memory.die(Cause.die(new Error("oops")))
        assert.strictEqual(
          Option.getOrThrow((yield* running.status).lastError).message,
          "policy source memory: unavailable, its stream has died"
        )
        yield* TestClock.adjust("2 seconds")
        yield* settle
        assert.strictEqual(running.memory.starts, 3)
        for (let i = 0; i < 20; i++) {
          yield* running.memory.end
          yield* TestClock.adjust("1 minute")
          yield* settle
        }
        const { starts } = running.memory
        assert.isAtLeast(starts, 20)
        yield* running.memory.end
        yield* TestClock.adjust("29 seconds")
        yield* settle
        assert.strictEqual(running.memory.starts, starts)
        yield* TestClock.adjust("31 seconds")
        yield* settle
        assert.strictEqual(running.memory.starts, starts + 1)
        yield* running.publish({ revision: "2", ...retry(3) })
        assert.deepStrictEqual(yield* revisionOf(running), ["2", "live"])
      }))

    it.effect("a report that hangs or dies holds nothing back", () =>
      Effect.gen(function*() {
        const reports: Array<string> = []
        const running = yield* live({
          first: [retry(2)],
          report: (report) => {
            reports.push(report._tag)
            return reports.length === 1 ? Effect.never : reports.length === 2 ? Effect.die("oops") : Effect.void
          }
        })
        for (let i = 2; i < 6; i++) yield* running.publish({ revision: String(i), ...retry(2) })
        assert.deepStrictEqual(yield* revisionOf(running), ["5", "live"])
        assert.deepStrictEqual(reports, ["Accepted"])
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.lengthOf(reports, 5)
      }))
  })

  describe("the last known good document", () => {
    it.effect("is what was found, saved when it is accepted, and not what was refused", () =>
      Effect.gen(function*() {
        const kept = store()
        const running = yield* live({ first: [retry(100)], store: kept })
        yield* running.publish({ revision: "2", oops: 1 })
        yield* running.publish({ revision: "3", ...retry(9) })
        assert.deepStrictEqual(kept.saves, [
          { schemaVersion: "1.0", revision: "1", ...retry(100) },
          { schemaVersion: "1.0", revision: "3", ...retry(9) }
        ])
      }))

    it.effect("is saved again once a day while it is confirmed, so that it does not look old after a restart", () =>
      Effect.gen(function*() {
        const kept = store()
        const running = yield* live({ first: [retry(2)], store: kept })
        for (let hour = 0; hour < 49; hour++) {
          yield* TestClock.adjust("1 hour")
          yield* running.say(PolicySource.unchanged)
        }
        assert.lengthOf(kept.saves, 3)
      }))

    it.effect("that cannot be saved is shown until it can, and said once", () =>
      Effect.gen(function*() {
        let full = true
        const error = new LastKnownGood.StoreError({ store: "disk", operation: "save", detail: "no space left" })
        const running = yield* live({
          first: [retry(2)],
          store: store({ save: () => Effect.suspend(() => full ? Effect.fail(error) : Effect.void) })
        })
        yield* running.publish({ revision: "2", ...retry(3) })
        assert.deepStrictEqual((yield* running.status).storeError, Option.some(error))
        assert.lengthOf(running.log.filter(({ message }) => message.includes("no space left")), 1)
        assert.strictEqual(yield* attemptsOf(running), 3)
        full = false
        yield* running.publish({ revision: "3", ...retry(4) })
        assert.deepStrictEqual((yield* running.status).storeError, Option.none())
      }))
  })

  describe("a rollout", () => {
    const rollout = (percent: number) => retry(2, { rollout: { percent, change: { retry: { maxAttempts: 4 } } } })

    it.effect("gives the change to some instances, to all at 100, and takes it back at 0", () =>
      Effect.gen(function*() {
        const fleet = yield* Effect.forEach(Array.from({ length: 20 }), (_, i) => live({ instance: `pod-${i}` }), {
          concurrency: "unbounded"
        }).pipe(Effect.forkChild({ startImmediately: true }))
        yield* TestClock.adjust("2 seconds")
        const running = yield* fleet.pollUnsafe()!
        const reached: Array<ReadonlyArray<number>> = []
        for (const [i, percent] of [0, 30, 60, 100, 0].entries()) {
          yield* Effect.forEach(running, ({ publish }) => publish({ revision: String(i), ...rollout(percent) }))
          const attempts = yield* Effect.forEach(running, (instance) => attemptsOf(instance))
          reached.push(attempts.flatMap((runs, at) => runs === 4 ? [at] : []))
        }
        const [none, some, more, all, after] = reached as [
          Array<number>,
          Array<number>,
          Array<number>,
          Array<number>,
          Array<number>
        ]
        assert.deepStrictEqual([none.length, all.length, after.length], [0, 20, 0])
        assert.isTrue(some.length > 0 && more.length > some.length && more.length < 20, `${some} / ${more}`)
        assert.deepStrictEqual(some.filter((at) => !more.includes(at)), [])
      }))
  })

  describe("changes", () => {
    const take = (running: Running, count: number) =>
      running.provider.changes.pipe(Stream.take(count), Stream.runCollect)

    it.effect("begin with how things stand, and go on with what is different", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const fiber = yield* Effect.forkChild(take(running, 3), { startImmediately: true })
        yield* settle
        yield* running.publish({ revision: "2", ...retry(3) })
        yield* running.say(unavailable)
        yield* settle
        const [first, second, third] = yield* fiber.pollUnsafe()!
        assert.deepStrictEqual([first?.previous, first?.status.revision, first?.differences], [Option.none(), "1", []])
        assert.deepStrictEqual([second?.previous, second?.status.revision], [Option.some("1"), "2"])
        assert.deepStrictEqual(second?.differences, [
          { path: ["policies", "svc.*", "retry", "maxAttempts"], before: 2, after: 3 }
        ])
        assert.deepStrictEqual([third?.status.revision, third?.differences], ["2", []])
        assert.isTrue(Option.isSome(third!.status.lastError))
      }))

    it.effect("never lose the last state for a subscriber that is slow, and pile up nothing", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)], guard: false })
        const seen: Array<readonly [string, unknown]> = []
        yield* running.provider.changes.pipe(
          Stream.runForEach((change) =>
            Effect.andThen(
              Effect.sync(() => seen.push([change.status.revision, change.differences[0]?.after])),
              Effect.sleep("1 minute")
            )
          ),
          Effect.forkChild({ startImmediately: true })
        )
        yield* settle
        for (let i = 2; i <= 1_000; i++) {
          yield* running.say(document({ revision: String(i), ...retry(1 + i % 10) }))
        }
        yield* TestClock.adjust("10 minutes")
        yield* settle
        assert.strictEqual(seen.at(-1)?.[0], "1000")
        assert.isAtMost(seen.length, 4)
        // what was missed comes as one change, and what did not change on the whole is none
        yield* running.publish({ revision: "1001", ...retry(7) })
        yield* settle
        assert.deepStrictEqual(seen.at(-1), ["1001", 7])
      }))

    it.effect("of a budget and of kill switches are among them", () =>
      Effect.gen(function*() {
        const bucket = (capacity: number) => ({ p: { type: "tokenBucket", capacity, refillPerSecond: 1 } })
        const running = yield* live({ first: [{ budgets: bucket(5) }] })
        const fiber = yield* Effect.forkChild(take(running, 2), { startImmediately: true })
        yield* settle
        yield* running.publish({ revision: "2", budgets: bucket(6), off: ["svc.*"] })
        const [, change] = yield* fiber.pollUnsafe()!
        assert.deepStrictEqual(change?.differences.map(({ after, before, path }) => [path.join("."), before, after]), [
          ["budgets.p.capacity", 5, 6],
          ["off.svc.*", undefined, Infinity]
        ])
      }))

    it.effect("end with the layer", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.scoped(Effect.gen(function*() {
          const running = yield* live({ first: [retry(2)] })
          return yield* Effect.forkDetach(Stream.runDrain(running.provider.changes), { startImmediately: true })
        }))
        yield* settle
        assert.isDefined(fiber.pollUnsafe())
      }))
  })

  describe("a large document", () => {
    const large = {
      revision: "2",
      off: ["svc.*"],
      policies: Object.fromEntries(
        Array.from({ length: 500 }, (_, n) => [`svc.Key${n}`, { retry: { maxAttempts: 2 } }])
      )
    }
    const slowly = Effect.provideService(Clock.Clock, hurried)
    const begun = Effect.gen(function*() {
      const running = yield* live({ first: [retry(3)] })
      yield* running.publish(large)
      return running
    })

    it.effect("is judged while calls are made, and takes effect in one step", () =>
      Effect.gen(function*() {
        const running = yield* begun
        let calls = 0
        while ((yield* running.status).revision === "1") {
          assert.deepStrictEqual((yield* timelineOf(running))[0], "1")
          calls++
          yield* settle
        }
        assert.isAbove(calls, 20)
        assert.deepStrictEqual((yield* timelineOf(running))[0], "2")
      }).pipe(slowly))

    it.effect("switches off at once, however long the rest takes", () =>
      Effect.gen(function*() {
        const { revision, off } = yield* (yield* begun).status
        assert.deepStrictEqual([revision, off.map(({ pattern }) => pattern)], ["1", ["svc.*"]])
      }).pipe(slowly))

    it.effect("changes no policy when the layer is closed meanwhile", () =>
      Effect.gen(function*() {
        const { memory, status } = yield* Effect.scoped(begun)
        for (let n = 0; n < 100; n++) yield* settle
        assert.strictEqual((yield* status).revision, "1")
        assert.lengthOf(memory.reports, 1)
      }).pipe(slowly))
  })

  describe("render", () => {
    it.effect("tells an operator in lines what is in force and what is not as it should be", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(4)] })
        assert.strictEqual(PolicyProvider.render(yield* running.status), "policy 1, live")
        yield* running.publish({
          revision: "2",
          policies: { ...retry(50).policies, "a.*": { classifier: "novel" } },
          off: [{ key: "b.*", until: "1970-01-01T01:00:00Z" }],
          hedgeOff: ["c.*"]
        })
        yield* running.provider.override("d.*", "off", { for: "1 minute" })
        yield* running.publish({ revision: "3", oops: 1, polices: {} })
        yield* running.say(unavailable)
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(
          PolicyProvider.render(yield* running.status),
          [
            "policy 2, stale, 30s old",
            "error: policy source memory: unavailable, connection refused",
            "refused at 1970-01-01T00:00:00.000Z: 3",
            "  oops: is not a field that is known here, got 1",
            "  polices: is not a field that is known here, got {}",
            "clamped policies[\"svc.*\"].retry.maxAttempts: 50 to 10",
            "not taken policies[\"a.*\"].classifier: must name a classifier that is provided, got \"novel\"",
            "off b.* until 1970-01-01T01:00:00.000Z",
            "off d.* until 1970-01-01T00:01:00.000Z",
            "hedges off c.*",
            "override d.* until 1970-01-01T00:01:00.000Z: off"
          ].join("\n")
        )
      }))

    it.effect("tells a change in lines: what came, what went, what is another", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(running.provider.changes, 2)), {
          startImmediately: true
        })
        yield* settle
        yield* running.publish({
          revision: "2",
          policies: { "svc.*": { ...retry(3).policies["svc.*"], budget: "default", idempotent: true } },
          defaults: { timeout: { overall: "1 second" } }
        })
        yield* settle
        const [, change] = yield* fiber.pollUnsafe()!
        assert.sameMembers(PolicyProvider.renderChange(change!).split("\n"), [
          "policy 2, live",
          "+ defaults.timeout.overall: \"1s\"",
          "  policies[\"svc.*\"].retry.maxAttempts: 2 to 3",
          "  policies[\"svc.*\"].budget: \"unlimited\" to \"default\"",
          "+ policies[\"svc.*\"].idempotent: true"
        ])
      }))
  })

  describe("policy", () => {
    it.effect("is the one in force", () =>
      Effect.gen(function*() {
        const running = yield* live({ first: [retry(2)] })
        const attempts = Effect.map(running.provider.policy(key), (policy) => {
          const section = Option.getOrThrow(policy).sections.retry
          return typeof section === "object" ? section.maxAttempts : section
        })
        assert.strictEqual(yield* attempts, 2)
        yield* running.publish({ revision: "2", ...retry(3) })
        assert.strictEqual(yield* attempts, 3)
      }))
  })
})
