import { describe } from "@effect/vitest"
import { Classifier, Outcome } from "@rego/core"
import { ClassifierLaws } from "@rego/testing"
import { Cause, Data, Duration, Exit } from "effect"
import { SqlError } from "effect/sql"
import { HttpClassifier } from "../../http/src/index.ts"
import type { BrokenPart } from "./support.ts"
import { holds, notices } from "./support.ts"

class Unavailable extends Data.TaggedError("Unavailable")<{ after: number }> {}
class NotFound extends Data.TaggedError("NotFound") {}
type Failure = Unavailable | NotFound

const errors = [new Unavailable({ after: 2_000 }), new NotFound()]

const byTag = Classifier.byTag<Failure>({
  Unavailable: ({ after }) => Outcome.retryable({ reason: "unavailable", retryAfter: after }),
  NotFound: Outcome.nonRetryable({ reason: "not_found" })
})

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  exit._tag === "Failure" ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined

const broken = (
  what: string,
  breaks: string,
  classify: (exit: Exit.Exit<unknown, unknown>) => Outcome.Outcome | undefined
): BrokenPart => ({
  what,
  breaks: [breaks],
  suite: ClassifierLaws.make(Classifier.make<unknown, unknown>(classify), { errors, values: [{ status: 503 }] })
})

const retryable = Outcome.retryable({ reason: "failed" })

let asked = 0

describe("ClassifierLaws", () => {
  holds("byTag", ClassifierLaws.make(byTag, { errors }))
  holds(
    "fromPredicate",
    ClassifierLaws.make(Classifier.fromPredicate<string>((it) => it === "503"), { errors: ["503"] })
  )
  holds("never", ClassifierLaws.make(Classifier.never))
  holds(
    "typedFailures",
    ClassifierLaws.make(Classifier.typedFailures, { errors: ["503", new Error("the disk is full")] })
  )
  holds(
    "sql",
    ClassifierLaws.make(Classifier.sql, {
      errors: [new SqlError.SqlError({ reason: new SqlError.DeadlockError({ cause: new Error("deadlock detected") }) })]
    })
  )
  holds("http", ClassifierLaws.make(Classifier.fromProtocol(HttpClassifier.http)))

  const [throws, answers, pure, changes, aborts, few] = ClassifierLaws.make(Classifier.never).map(({ name }) => name)

  notices(ClassifierLaws.make(Classifier.never), [
    broken("reads a field of a defect that may be null", throws!, (exit) => {
      const reason = exit._tag === "Failure" ? exit.cause.reasons.find(Cause.isDieReason) : undefined
      return reason !== undefined && (reason.defect as Error).message === "" ? retryable : undefined
    }),
    broken("answers with a tag instead of an Outcome", answers!, () => "Retryable" as never),
    broken("gives no reason", answers!, () => Outcome.retryable({ reason: "" })),
    broken("asks for a wait before now", answers!, () => ({
      _tag: "Retryable",
      reason: "failed",
      executed: "maybe",
      retryAfter: Duration.millis(-1)
    })),
    broken("does not know whether the work was done", answers!, () => ({ ...retryable, executed: "perhaps" }) as never),
    broken("calls every third failure final", pure!, () => ++asked % 3 === 0 ? undefined : retryable),
    broken("counts on the error", changes!, (exit) => {
      const error = failureOf(exit)
      if (error instanceof Unavailable) Object.assign(error, { after: error.after + 1 })
      return undefined
    }),
    broken("takes an interruption for a failure", aborts!, (exit) => exit._tag === "Failure" ? retryable : undefined),
    broken("makes the message its reason", few!, (exit) => {
      const reason = exit._tag === "Failure" ? exit.cause.reasons.find(Cause.isDieReason) : undefined
      return reason === undefined ? undefined : Outcome.nonRetryable({ reason: `died: ${String(reason.defect)}` })
    }),
    broken("tells a story as its reason", few!, () => Outcome.nonRetryable({ reason: "because ".repeat(20) }))
  ])
})
