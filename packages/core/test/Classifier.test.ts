import { assert, describe, it } from "@effect/vitest"
import { Classifier, Outcome, PolicyKey, RegoError, Timeline } from "@rego/core"
import { Cause, Context, Data, Duration, Effect, Exit, Layer, Option } from "effect"
import { CallRecord } from "../src/CallRecord.ts"
import { array, boolean, integer, property } from "./arbitraries.ts"

const key = PolicyKey.make("inner.Get")

const timedOut = RegoError.makeWithoutStack(key, {
  _tag: "AttemptTimedOut",
  perAttempt: Duration.seconds(1),
  attempt: { retry: 0, hedge: 0 }
})
const missing = RegoError.makeWithoutStack(key, { _tag: "PolicyMissing" })

/** What a call inside makes of a cause, with or without a retry section. */
const left = <E>(cause: Cause.Cause<E>, retries: boolean) =>
  Timeline.annotate(cause, new CallRecord(key, { revision: "1", source: "local", retries }, 0))

const through = <E>(cause: Cause.Cause<E>, retries: boolean) => Exit.failCause(left(cause, retries))

const together = <E>(...causes: ReadonlyArray<Cause.Cause<E>>): Exit.Exit<never, E> =>
  Exit.failCause(causes.reduce(Cause.combine))

class NotFound extends Data.TaggedError("NotFound") {}
class Unavailable extends Data.TaggedError("Unavailable")<{ readonly after: number }> {}

const verdict = (outcome: Outcome.Outcome | undefined): string =>
  outcome === undefined ? "no opinion" : "reason" in outcome ? `${outcome._tag} ${outcome.reason}` : outcome._tag

describe("Classifier", () => {
  describe("typedFailures", () => {
    const rows: ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>, string]> = [
      ["a success [C01]", Exit.succeed(1), "Success"],
      ["a success without a value", Exit.succeed(undefined), "Success"],
      ["a typed failure [C01] [C13]", Exit.fail("no"), "Retryable typed_failure"],
      ["a typed failure that is undefined", Exit.fail(undefined), "Retryable typed_failure"],
      [
        "a typed failure whose cleanup was interrupted",
        together(Cause.fail("no"), Cause.interrupt(1)),
        "Retryable typed_failure"
      ],
      ["our own attempt timeout [C01]", Exit.fail(timedOut), "Retryable attempt_timeout"],
      ["the attempt timeout of a call inside", through(Cause.fail(timedOut), true), "NonRetryable nested_stop"],
      [
        "the attempt timeout of a call inside without retries",
        through(Cause.fail(timedOut), false),
        "NonRetryable nested_stop"
      ],
      ["another RegoError", Exit.fail(missing), "NonRetryable nested_stop"],
      ["a failure that a call inside has retried", through(Cause.fail("no"), true), "NonRetryable retried_below"],
      ["a failure of a call inside without retries", through(Cause.fail("no"), false), "Retryable typed_failure"],
      [
        "an open circuit breaker of Effect",
        Exit.fail({ _tag: "CircuitBreakerError" }),
        "NonRetryable rejected_locally"
      ],
      ["a rate limiter of Effect", Exit.fail({ _tag: "RateLimiterError" }), "NonRetryable rejected_locally"],
      ["a defect", Exit.die(new Error("bug")), "NonRetryable defect"],
      ["a defect beside a typed failure", together<string>(Cause.fail("no"), Cause.die("bug")), "NonRetryable defect"],
      ["a defect beside an interruption", together(Cause.interrupt(1), Cause.die("bug")), "NonRetryable defect"],
      [
        "a defect beside our own timeout",
        together<unknown>(Cause.fail(timedOut), Cause.die("bug")),
        "NonRetryable defect"
      ],
      ["an interruption [C01]", Exit.interrupt(1), "Abort interrupted"],
      ["two interruptions", together(Cause.interrupt(1), Cause.interrupt(2)), "Abort interrupted"],
      ["an empty cause", Exit.failCause(Cause.empty), "Abort interrupted"]
    ]
    for (const [what, exit, expected] of rows) {
      it(`judges ${what}: ${expected}`, () => {
        assert.strictEqual(verdict(Classifier.typedFailures(exit)), expected)
      })
    }

    it("claims of no failure that the server did nothing", () => {
      for (const [, exit] of rows) {
        const outcome = Classifier.typedFailures(exit)
        if (outcome?._tag === "Retryable") assert.strictEqual(outcome.executed, "maybe")
      }
    })
  })

  describe("classifyDefault", () => {
    it("retries what was retried below where the policy allows it", () => {
      const exit = through(Cause.fail("no"), true)
      assert.strictEqual(verdict(Classifier.classifyDefault(exit, false, "allow")), "Retryable typed_failure")
      assert.strictEqual(verdict(Classifier.classifyDefault(exit, false, "refuse")), "NonRetryable retried_below")
    })

    it("never repeats a RegoError of a call inside, even where nested retries are allowed", () => {
      const exit = through(Cause.fail(missing), true)
      assert.strictEqual(verdict(Classifier.classifyDefault(exit, false, "allow")), "NonRetryable nested_stop")
    })
  })

  describe("findFailure", () => {
    const found = (exit: Exit.Exit<unknown, unknown>) => Option.getOrElse(Classifier.findFailure(exit), () => "nothing")

    it("is the error of a typed failure, and nothing where the rules of a call decide", () => {
      assert.strictEqual(found(Exit.fail("no")), "no")
      assert.strictEqual(found(together(Cause.fail("no"), Cause.interrupt(1))), "no")
      const others: ReadonlyArray<Exit.Exit<unknown, unknown>> = [
        Exit.succeed(1),
        Exit.fail(timedOut),
        through(Cause.fail(missing), true),
        Exit.fail({ _tag: "RateLimiterError" }),
        Exit.die("bug"),
        together<string>(Cause.fail("no"), Cause.die("bug")),
        Exit.interrupt(1)
      ]
      for (const exit of others) assert.strictEqual(found(exit), "nothing", String(exit))
    })

    it("is also what has been through calls, whether they retried it or not", () => {
      assert.strictEqual(found(through(Cause.fail("no"), false)), "no")
      assert.strictEqual(found(through(Cause.fail("no"), true)), "no")
    })
  })

  describe("wasRetried", () => {
    it("is true of what has been through a call with retries, even if not the first one", () => {
      assert.isTrue(Classifier.wasRetried(left(Cause.fail("no"), true)))
      assert.isTrue(Classifier.wasRetried(left(left(Cause.fail("no"), true), false)))
      assert.isFalse(Classifier.wasRetried(left(Cause.fail("no"), false)))
      assert.isFalse(Classifier.wasRetried(Cause.fail("no")))
    })
  })

  describe("isAnswer", () => {
    it("is true of a success and of a final error, but for those that the dependency never said", () => {
      assert.isTrue(Classifier.isAnswer(Outcome.success))
      assert.isTrue(Classifier.isAnswer(Outcome.nonRetryable({ reason: "not_found" })))
      for (const reason of ["defect", "classifier_defect", "rejected_locally", "retried_below", "nested_stop"]) {
        assert.isFalse(Classifier.isAnswer(Outcome.nonRetryable({ reason })), reason)
      }
      assert.isFalse(Classifier.isAnswer(Outcome.retryable({ reason: "busy" })))
      assert.isFalse(Classifier.isAnswer(Outcome.abort({ reason: "gone" })))
    })
  })

  describe("unlessRetriedBelow", () => {
    it("turns a retry of what was retried inside into a stop, and nothing else", () => {
      const busy = Outcome.retryable({ reason: "busy" })
      const final = Outcome.nonRetryable({ reason: "final" })
      const retried = through(Cause.fail("no"), true)
      const once = through(Cause.fail("no"), false)
      assert.strictEqual(verdict(Classifier.unlessRetriedBelow(busy, retried, "refuse")), "NonRetryable retried_below")
      assert.strictEqual(Classifier.unlessRetriedBelow(busy, retried, "allow"), busy)
      assert.strictEqual(Classifier.unlessRetriedBelow(busy, once, "refuse"), busy)
      assert.strictEqual(Classifier.unlessRetriedBelow(busy, Exit.succeed(1), "refuse"), busy)
      assert.strictEqual(Classifier.unlessRetriedBelow(final, retried, "refuse"), final)
      assert.isUndefined(Classifier.unlessRetriedBelow(undefined, retried, "refuse"))
    })
  })

  describe("fromProtocol", () => {
    const asked: Array<"allow" | "refuse"> = []
    const both = Classifier.fromProtocol((exit, nested) => {
      asked.push(nested)
      return Option.match(Classifier.findFailure(exit), {
        onNone: () => undefined,
        onSome: (error) =>
          error === "final" ? Outcome.nonRetryable({ reason: "final" }) : Outcome.retryable({ reason: "busy" })
      })
    })

    it("says what the protocol says, of failures that no call inside has retried", () => {
      asked.length = 0
      assert.strictEqual(verdict(both(Exit.fail("busy"))), "Retryable busy")
      assert.strictEqual(verdict(both(through(Cause.fail("busy"), false))), "Retryable busy")
      assert.strictEqual(verdict(both(Exit.succeed(1))), "no opinion")
      assert.deepStrictEqual([...new Set(asked)], ["refuse"])
    })

    it("leaves one that was retried inside to the end of the chain, and says of an answer what it is", () => {
      assert.strictEqual(verdict(both(through(Cause.fail("busy"), true))), "no opinion")
      assert.strictEqual(verdict(both(through(Cause.fail("final"), true))), "NonRetryable final")
    })
  })

  describe("causesOf", () => {
    const caused = (message: string, cause: unknown) => new Error(message, { cause })
    const messages = (error: unknown) => Classifier.causesOf(error).map((link) => (link as Error).message)

    it("is the error and what it was made from, nearest first", () => {
      assert.deepStrictEqual(messages(caused("a", caused("b", new Error("c")))), ["a", "b", "c"])
      assert.deepStrictEqual(Classifier.causesOf({ _tag: "NotFound", cause: "text" }), [{
        _tag: "NotFound",
        cause: "text"
      }])
    })

    it("is empty for what is no object", () => {
      for (const error of [undefined, null, "no", 503]) assert.deepStrictEqual(Classifier.causesOf(error), [])
    })

    it("looks into an AggregateError, after its cause", () => {
      const several = new AggregateError([caused("b", new Error("c")), new Error("d")], "a", {
        cause: new Error("why")
      })
      assert.deepStrictEqual(messages(several), ["a", "why", "b", "d", "c"])
    })

    it("ends, whatever it is given: in a circle, and after 16 errors", () => {
      const circle: { cause?: object } = {}
      circle.cause = { cause: circle }
      assert.strictEqual(Classifier.causesOf(circle).length, 2)
      const deep = Array.from({ length: 100 }).reduce<Error>(
        (cause, _, i) => caused(String(i), cause),
        new Error("end")
      )
      assert.deepStrictEqual(messages(deep), Array.from({ length: 16 }, (_, i) => String(99 - i)))
    })
  })

  describe("byTag", () => {
    const users = Classifier.byTag<NotFound | Unavailable>({
      NotFound: Outcome.nonRetryable({ reason: "not_found" }),
      Unavailable: (error) => Outcome.retryable({ reason: "unavailable", retryAfter: error.after })
    })

    it("answers with the outcome of a tag, or with what its function says", () => {
      assert.deepStrictEqual(users(Exit.fail(new NotFound())), Outcome.nonRetryable({ reason: "not_found" }))
      const outcome = users(Exit.fail(new Unavailable({ after: 500 })))
      assert.deepStrictEqual(outcome, Outcome.retryable({ reason: "unavailable", retryAfter: 500 }))
    })

    it("has no opinion on successes, defects, interruptions and tags that are not listed", () => {
      const onlyNotFound = Classifier.byTag<NotFound | Unavailable>({
        NotFound: Outcome.success,
        Unavailable: undefined
      })
      assert.isUndefined(onlyNotFound(Exit.fail(new Unavailable({ after: 1 }))))
      for (const exit of [Exit.succeed({ _tag: "NotFound" }), Exit.die(new NotFound()), Exit.interrupt(1)]) {
        assert.isUndefined(onlyNotFound(exit))
      }
      assert.isUndefined(onlyNotFound(together<NotFound>(Cause.fail(new NotFound()), Cause.die("bug"))))
    })

    it("has no opinion on a tag that every object inherits", () => {
      for (const tag of ["constructor", "toString", "hasOwnProperty", "__proto__", "valueOf"]) {
        assert.isUndefined(users(Exit.fail({ _tag: tag } as unknown as NotFound)), tag)
      }
    })

    it("has no opinion on errors without a tag that is text", () => {
      const loose = Classifier.byTag<any>({ null: Outcome.success, undefined: Outcome.success, "1": Outcome.success })
      for (const error of [null, undefined, "NotFound", 1, {}, { _tag: 1 }, { _tag: null }]) {
        assert.isUndefined(loose(Exit.fail(error as never)))
      }
    })

    it("may list RegoError, to decide about calls inside", () => {
      const retryStops = Classifier.byTag<never>({ RegoError: Outcome.retryable({ reason: "again" }) })
      assert.strictEqual(verdict(retryStops(Exit.fail(missing))), "Retryable again")
    })

    it("passes on what a case throws, for the guard of the call", () => {
      const broken = Classifier.byTag<NotFound>({
        NotFound: () => {
          throw new Error("bug")
        }
      })
      assert.throws(() => broken(Exit.fail(new NotFound())), "bug")
    })
  })

  describe("fromPredicate", () => {
    const even = Classifier.fromPredicate<number>((n) => n % 2 === 0)

    it("calls what satisfies it Retryable unless given another outcome", () => {
      assert.strictEqual(verdict(even(Exit.fail(2))), "Retryable predicate")
      const final = Classifier.fromPredicate<number>((n) => n > 0, Outcome.nonRetryable({ reason: "final" }))
      assert.strictEqual(verdict(final(Exit.fail(1))), "NonRetryable final")
    })

    it("is asked about typed failures of the effect only", () => {
      const asked: Array<unknown> = []
      const spy = Classifier.fromPredicate<unknown>((error) => asked.push(error) > 0)
      const others = [Exit.succeed(2), Exit.die(2), Exit.interrupt(2), Exit.fail(missing)]
      for (const exit of others) assert.isUndefined(spy(exit))
      assert.isUndefined(even(Exit.fail(3)))
      assert.deepStrictEqual(asked, [])
    })
  })

  describe("orElse", () => {
    const exits: ReadonlyArray<Exit.Exit<number, number>> = [
      ...Array.from({ length: 6 }, (_, n) => Exit.fail(n)),
      Exit.succeed(1),
      Exit.die("bug"),
      Exit.interrupt(1)
    ]
    /** Has an opinion on the failures in its list, one of its own on each. */
    const made = array(integer(0, 5), { maxLength: 4 })
    const make = (name: string, known: ReadonlyArray<number>): Classifier.Classifier<unknown, unknown> => (exit) => {
      const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
      return known.includes(error as number) ? Outcome.nonRetryable({ reason: `${name} ${String(error)}` }) : undefined
    }
    const same = (a: Classifier.Classifier<unknown, unknown>, b: Classifier.Classifier<unknown, unknown>) => {
      for (const exit of exits) assert.deepStrictEqual(a(exit), b(exit))
    }

    property("is associative", { a: made, b: made, c: made, total: boolean }, (values) => {
      const [a, b] = [make("a", values.a), make("b", values.b)]
      const c = values.total ? Classifier.typedFailures : make("c", values.c)
      same(Classifier.orElse(Classifier.orElse(a, b), c), Classifier.orElse(a, Classifier.orElse(b, c)))
    })

    property("has never as its identity, on both sides", { known: made }, ({ known }) => {
      const a = make("a", known)
      same(Classifier.orElse(a, Classifier.never), a)
      same(Classifier.orElse(Classifier.never, a), a)
    })

    it("does not ask the second where the first has an opinion, nor hide what the first throws", () => {
      const unasked = Classifier.make(() => assert.fail("asked"))
      const sure = Classifier.make(() => Outcome.success)
      assert.deepStrictEqual(Classifier.orElse(sure, unasked)(Exit.fail(1)), Outcome.success)
      const broken = Classifier.make(() => {
        throw new Error("bug")
      })
      assert.throws(() => Classifier.orElse(broken, sure)(Exit.fail(1)), "bug")
    })

    it("takes its arguments first or last", () => {
      const a = make("a", [1])
      const b = make("b", [1, 2])
      same(Classifier.orElse(b)(a), Classifier.orElse(a, b))
      assert.strictEqual(verdict(Classifier.orElse(b)(a)(Exit.fail(1))), "NonRetryable a 1")
    })
  })

  describe("layer", () => {
    it.effect("registers classifiers by name; layers merge, and other names are unknown [C14]", () =>
      Effect.gen(function*() {
        const one = Classifier.make(() => Outcome.success)
        const context = yield* Layer.build(
          Layer.merge(
            Classifier.layer({ one, two: Classifier.never }),
            Classifier.layer({ three: Classifier.typedFailures })
          )
        )
        const find = (name: string) => Classifier.findNamed(context as Context.Context<never>, name)
        assert.strictEqual(find("one"), one)
        assert.strictEqual(find("two"), Classifier.never)
        assert.strictEqual(find("three"), Classifier.typedFailures)
        for (const name of ["", "four", "constructor", "toString"]) assert.isUndefined(find(name))
      }))
  })
})
