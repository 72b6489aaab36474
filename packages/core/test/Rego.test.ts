import { assert, describe, it } from "@effect/vitest"
import { Attempt, Backoff, Classifier, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import type { RegoError } from "@rego/core"
import { Context, Effect, Exit, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import {
  assertFailsWith,
  assertSucceedsWith,
  fails,
  hangs,
  inVirtualTime,
  key,
  policiesOf,
  rows,
  script,
  succeeds,
  under
} from "./support.ts"

const boom = new Error("boom")
const backoff = Backoff.constant("10 millis", { jitter: "none" })
const retry = { maxAttempts: 3, backoff }
const policies = policiesOf({ retry })

describe("Rego", () => {
  describe("resilient", () => {
    const forms: Record<string, (self: Effect.Effect<string, Error>) => Effect.Effect<string, Error, any>> = {
      "data last": (self) => self.pipe(Rego.resilient(key)),
      "data first": (self) => Rego.resilient(self, key),
      "data last with options": (self) => self.pipe(Rego.resilient(key, { idempotent: true })),
      "data first with options": (self) => Rego.resilient(self, key, { idempotent: true }),
      "with a classifier": (self) =>
        self.pipe(Rego.resilient(key, { classifier: Classifier.make<string, Error>(() => undefined) }))
    }
    for (const [form, wrap] of Object.entries(forms)) {
      it.effect(`retries, ${form}`, () =>
        Effect.gen(function*() {
          const s = script<string, Error>(fails(boom), succeeds("ok"))
          const exit = yield* inVirtualTime(wrap(s.effect)).pipe((self) => under(self, policies))
          assertSucceedsWith(exit, "ok")
          assert.strictEqual(s.runs, 2)
        }))
    }

    const given: ReadonlyArray<readonly [what: string, given: ReadonlyArray<unknown>, made: "function" | "effect"]> = [
      ["a key", ["users.Get"], "function"],
      ["a key and options", ["users.Get", { idempotent: true }], "function"],
      ["two keys", ["users.Get", "users.Put"], "function"],
      ["a key that is none", [5], "function"],
      ["a key that is none, and options", [5, { idempotent: true }], "function"],
      ["an effect and a key", [Effect.void, "users.Get"], "effect"],
      ["an effect and a key that is none", [Effect.void, 5], "effect"],
      ["a promise, which it says when it runs, and a key", [Promise.resolve(), "users.Get"], "effect"]
    ]
    for (const [what, args, expected] of given) {
      it(`given ${what} it is ${expected === "effect" ? "an effect" : "an operator"}`, () => {
        const made = (Rego.resilient as (...args: ReadonlyArray<unknown>) => unknown)(...args)
        assert.strictEqual(Effect.isEffect(made) ? "effect" : typeof made, expected)
      })
    }

    it.effect("runs nothing until the call is run, and everything anew each time", () =>
      Effect.gen(function*() {
        const s = script(fails(boom))
        const wrapped = s.effect.pipe(Rego.resilient(key))
        assert.strictEqual(s.runs, 0)
        yield* inVirtualTime(wrapped).pipe((self) => under(self, policies))
        assert.strictEqual(s.runs, 3)
        yield* inVirtualTime(wrapped).pipe((self) => under(self, policies))
        assert.strictEqual(s.runs, 6)
      }))

    it.effect("keeps apart concurrent calls of one stored operator", () =>
      Effect.gen(function*() {
        const operator = Rego.resilient(key)
        const scripts = Array.from({ length: 20 }, (_, i) =>
          script<number, Error>(...Array.from({ length: i % 3 }, () => fails(boom, i)), succeeds(i, i)))
        const exit = yield* inVirtualTime(
          Effect.all(
            scripts.map((s) =>
              s.effect.pipe(operator)
            ),
            { concurrency: "unbounded" }
          )
        ).pipe(Effect.flatten, (self) => under(self, policies))
        assert.deepStrictEqual(exit, Array.from({ length: 20 }, (_, i) => i))
        assert.deepStrictEqual(scripts.map((s) => s.runs), Array.from({ length: 20 }, (_, i) => i % 3 + 1))
      }))

    it.effect("gives the effect the services of the caller", () =>
      Effect.gen(function*() {
        class Db extends Context.Service<Db, { readonly name: string }>()("test/Db") {}
        const name = yield* Effect.map(Db, (db) => db.name).pipe(
          Rego.resilient(key),
          Effect.provideService(Db, Db.of({ name: "primary" })),
          (self) => under(self, policies)
        )
        assert.strictEqual(name, "primary")
      }))

    it.effect("asks the classifier of the call site before the one of the policy", () =>
      Effect.gen(function*() {
        const asked: Array<string> = []
        const no = (who: string, outcome: Outcome.Outcome | undefined) =>
          Classifier.make(() => {
            asked.push(who)
            return outcome
          })
        const final = Outcome.nonRetryable({ reason: "final" })
        const run = (site: Outcome.Outcome | undefined, policy: Outcome.Outcome | undefined) =>
          Effect.gen(function*() {
            asked.length = 0
            const s = script(fails(boom))
            yield* inVirtualTime(s.effect.pipe(Rego.resilient(key, { classifier: no("site", site) }))).pipe((self) =>
              under(self, policiesOf({ retry, classifier: no("policy", policy) }))
            )
            return [s.runs, ...asked]
          })
        assert.deepStrictEqual(yield* run(final, undefined), [1, "site"])
        assert.deepStrictEqual(yield* run(undefined, final), [1, "site", "policy"])
        assert.strictEqual((yield* run(undefined, undefined))[0], 3)
      }))

    it.effect("asks the protocol's classifier last, and tells it whether the policy allows nested retries", () =>
      Effect.gen(function*() {
        const asked: Array<string> = []
        const run = (policy: Outcome.Outcome | undefined, nested?: "allow") =>
          Effect.gen(function*() {
            asked.length = 0
            const s = script<string, Error>(succeeds("503"))
            const protocol: Classifier.Protocol<string, Error> = (exit, nested) => {
              asked.push(`${exit._tag} ${nested}`)
              return Outcome.retryable({ reason: "http_503" })
            }
            yield* inVirtualTime(s.effect.pipe(Rego.resilient(key, { protocol, onDiscard: () => Effect.void }))).pipe(
              (self) => under(self, policiesOf({ retry: { ...retry, nested }, classifier: () => policy }))
            )
            return [s.runs, ...asked]
          })
        const refused = "Success refuse"
        assert.deepStrictEqual(yield* run(Outcome.success), [1])
        assert.deepStrictEqual(yield* run(undefined), [3, refused, refused, refused])
        assert.strictEqual((yield* run(undefined, "allow"))[1], "Success allow")
      }))

    it.effect("goes on to typedFailures where the protocol's classifier has no opinion", () =>
      Effect.gen(function*() {
        const s = script(fails(boom))
        const options = { protocol: () => undefined, onDiscard: () => Effect.void }
        yield* inVirtualTime(s.effect.pipe(Rego.resilient(key, options))).pipe((self) =>
          under(self, policiesOf({ retry }))
        )
        assert.strictEqual(s.runs, 3)
      }))

    it.effect("sees its own timeout in its classifier as a RegoError of the attempt", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const classifier = Classifier.byTag<RegoError.RegoError>({
          RegoError: (error) => {
            seen.push(error.reason._tag)
            return Outcome.nonRetryable({ reason: "too slow" })
          }
        })
        const s = script(hangs)
        yield* inVirtualTime(s.effect.pipe(Rego.resilient(key))).pipe((self) =>
          under(self, policiesOf({ retry, timeout: { perAttempt: "5 millis" }, classifier, idempotent: true }))
        )
        assert.deepStrictEqual(seen, ["AttemptTimedOut"])
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("shows each attempt its number, its key and how the one before ended", () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const attempt = Effect.flatMap(Attempt.CurrentAttempt, (current) => {
          const { active, hedge, key, previous, retry } = Option.getOrThrow(current)
          seen.push([key, retry, hedge, active, Option.map(previous, Exit.isFailure)])
          return Effect.fail(boom)
        })
        yield* inVirtualTime(attempt.pipe(Rego.resilient(key))).pipe((self) => under(self, policies))
        assert.deepStrictEqual(seen, [
          [key, 0, 0, true, Option.none()],
          [key, 1, 0, true, Option.some(true)],
          [key, 2, 0, true, Option.some(true)]
        ])
      }))

    it.effect("shows no attempt outside of a call, and an inactive one to what outlives its attempt", () =>
      Effect.gen(function*() {
        assert.isTrue(Option.isNone(yield* Attempt.CurrentAttempt))
        const seen: Array<boolean> = []
        const outlives = Attempt.CurrentAttempt.pipe(
          Effect.delay("1 second"),
          Effect.tap((current) => Effect.sync(() => seen.push(Option.getOrThrow(current).active)))
        )
        yield* inVirtualTime(Effect.forkDetach(outlives).pipe(Rego.resilient(key))).pipe((self) =>
          under(self, policies)
        )
        assert.deepStrictEqual(seen, [false])
      }))

    it.effect("discards every success that is not returned, and waits for none of it", () =>
      Effect.gen(function*() {
        const discarded: Array<string> = []
        const busy = Classifier.make<string>((exit) =>
          exit._tag === "Success" && exit.value === "busy" ? Outcome.retryable({ reason: "busy" }) : undefined
        )
        const slowly = (value: string) =>
          Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => discarded.push(value)))
        const s = script(succeeds("busy"), succeeds("ok"))
        yield* Effect.gen(function*() {
          const call = s.effect.pipe(Rego.resilient(key, { classifier: busy, onDiscard: slowly }))
          const exit = yield* inVirtualTime(call, "10 millis")
          assertSucceedsWith(exit, "ok")
          assert.deepStrictEqual(discarded, [])
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(discarded, ["busy"])
        }).pipe((self) => under(self, policies))
      }))

    it.effect("changes nothing when onDiscard dies", () =>
      Effect.gen(function*() {
        const busy = Classifier.make<string>((exit) =>
          exit._tag === "Success" && exit.value === "busy" ? Outcome.retryable({ reason: "busy" }) : undefined
        )
        for (
          const onDiscard of [
            () => Effect.die(new Error("bad")),
            (): Effect.Effect<void> => {
              throw new Error("bad")
            }
          ]
        ) {
          const s = script(succeeds("busy"), succeeds("ok"))
          const exit = yield* inVirtualTime(s.effect.pipe(Rego.resilient(key, { classifier: busy, onDiscard }))).pipe(
            (self) => under(self, policies)
          )
          assertSucceedsWith(exit, "ok")
        }
      }))
  })

  describe("resilientWithTimeline", () => {
    it.effect("gives the value and the timeline of its call", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom), succeeds("ok", 5))
        const exit = yield* inVirtualTime(s.effect.pipe(Rego.resilientWithTimeline(key))).pipe((self) =>
          under(self, policies)
        )
        assert.isTrue(Exit.isSuccess(exit))
        if (exit._tag === "Failure") return
        const [value, timeline] = exit.value
        assert.strictEqual(value, "ok")
        assert.deepStrictEqual(rows(timeline), [
          [0, "start 0"],
          [0, "end 0 Retryable typed_failure"],
          [0, "wait 10"],
          [10, "start 1"],
          [15, "end 1 Success"],
          [15, "success"]
        ])
      }))

    it.effect("fails as the call does, with the timeline on the cause", () =>
      Effect.gen(function*() {
        const exit = yield* inVirtualTime(Rego.resilientWithTimeline(script(fails(boom)).effect, key)).pipe((self) =>
          under(self, policies)
        )
        assertFailsWith(exit, boom)
        const timelines = exit._tag === "Failure" ? Timeline.fromCause(exit.cause) : []
        assert.deepStrictEqual(timelines.map((timeline) => timeline.attempts.length), [3])
      }))
  })

  describe("makeResilient", () => {
    class Users extends Context.Service<Users, {
      readonly get: (self: Effect.Effect<string, Error>) => Effect.Effect<string, Error>
    }>()("test/Users") {
      static readonly layer = Layer.effect(
        Users,
        Effect.map(Rego.makeResilient, (resilient) => Users.of({ get: (self) => self.pipe(resilient(key)) }))
      )
    }

    it.effect("takes the provider once, in the layer of a service", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom), succeeds("ok"))
        const get = Effect.flatMap(Users, (users) => users.get(s.effect))
        const exit = yield* inVirtualTime(get).pipe(
          Effect.provide(Users.layer.pipe(Layer.provide(Layer.orDie(policies))))
        )
        assertSucceedsWith(exit, "ok")
        assert.strictEqual(s.runs, 2)
      }))

    it.effect("works in both directions of arguments", () =>
      Effect.gen(function*() {
        const resilient = yield* Rego.makeResilient.pipe((self) => under(self, policies))
        const s = script<string, Error>(fails(boom), succeeds("ok"))
        assertSucceedsWith(yield* inVirtualTime(resilient(s.effect, key, { idempotent: true })), "ok")
      }))

    it.effect("goes on with the last policies after its layer has closed", () =>
      Effect.gen(function*() {
        // `under` has closed the layer before the call is made
        const resilient = yield* Rego.makeResilient.pipe((self) => under(self, policies))
        const s = script(fails(boom))
        assertFailsWith(yield* inVirtualTime(s.effect.pipe(resilient(key))), boom)
        assert.strictEqual(s.runs, 3)
      }))

    it.effect("shares the state of its layer with calls that take the provider themselves", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: { [key]: { retry: { maxAttempts: 2, backoff } } } })
        const s = script(fails(boom))
        yield* Effect.gen(function*() {
          const resilient = yield* Rego.makeResilient
          const calls = Effect.all(
            Array.from(
              { length: 10 },
              (_, i) => Effect.exit(i % 2 === 0 ? resilient(s.effect, key) : Rego.resilient(s.effect, key))
            )
          )
          yield* inVirtualTime(calls, "1 second")
        }).pipe((self) => under(self, layer))
        // ten calls, and the five retries that one reserve starts with
        assert.strictEqual(s.runs, 15)
      }))
  })
})
