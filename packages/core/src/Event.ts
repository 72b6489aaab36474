/**
 * What happens in a call, while it happens: one closed union of events, each with the key, the call and the time.
 *
 * @internal
 */
import { Schema } from "effect"
import { endedBy, outcomes, policySources, results } from "./CallRecord.ts"
import { DenialReason, StopReason } from "./Reasons.ts"

const common = {
  key: Schema.String,
  /** number of the call in this process, from 1; 0 where no call is meant */
  call: Schema.Int,
  /** milliseconds since the epoch, fractions included */
  at: Schema.Number
}

const event = <const Tag extends string, const Fields extends Schema.Struct.Fields>(
  tag: Tag,
  means: string,
  todo: string,
  fields: Fields
) => Schema.TaggedStruct(tag, { ...common, ...fields }).annotate({ description: means, documentation: todo })

const attempt = Schema.Struct({ retry: Schema.Int, hedge: Schema.Int })
const kind = Schema.Literals(["call", "retry", "hedge"])
const policy = { revision: Schema.String, source: Schema.Literals(policySources) }

export const Event = Schema.Union([
  event(
    "PolicyResolved",
    "the policy of the key was looked up, and the call begins",
    "source and revision say which it is; missing: there is none",
    {
      ...policy,
      /** when the call was made; earlier than `at` where its policy had to be waited for */
      startedAt: Schema.Number
    }
  ),
  event("AttemptStarted", "an attempt starts", "more than one in a call: look at why", {
    attempt,
    /** milliseconds waited before it */
    backoffBefore: Schema.Number
  }),
  event("AttemptEnded", "an attempt is over for its call", "endedBy, outcome and reason say how it ended", {
    attempt,
    startedAt: Schema.Number,
    endedBy: Schema.Literals(endedBy),
    outcome: Schema.optionalKey(Schema.Literals(outcomes)),
    reason: Schema.optionalKey(Schema.String),
    error: Schema.optionalKey(Schema.String),
    /** what was written on it with `Attempt.annotate` */
    attributes: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
  }),
  event(
    "AttemptAbandoned",
    "an attempt was told to stop, and still runs",
    "make the effect interruptible, and its finalizers short",
    { attempt }
  ),
  event(
    "AbandonedEnded",
    "an attempt that was given up has stopped",
    "compare with AttemptAbandoned: how long it took",
    {
      attempt
    }
  ),
  event("Pushback", "the server asked to wait", "retryAfter says how long; Infinity: it wants no further attempt", {
    attempt,
    retryAfter: Schema.Number
  }),
  event("BudgetGranted", "the budget allows an extra attempt, or admits a call", "nothing", {
    kind,
    budget: Schema.String,
    attempt
  }),
  event("BudgetDenied", "an extra attempt, or a call, was refused", "reason says why", {
    kind,
    /** absent where a rule refused before any budget was asked */
    budget: Schema.optionalKey(Schema.String),
    attempt,
    reason: DenialReason,
    /** the words of a budget of the user's */
    detail: Schema.optionalKey(Schema.String),
    retryAfter: Schema.optionalKey(Schema.Number)
  }),
  event("BackoffScheduled", "a wait before the next attempt begins", "nothing", {
    delay: Schema.Number,
    retryAfter: Schema.optionalKey(Schema.Number)
  }),
  event("HedgeDue", "the running attempts are slow enough for another one", "it starts only if it is allowed", {
    attempt
  }),
  event("HedgeStarted", "a hedge is about to start", "HedgeWon or HedgeWasted follows", { attempt }),
  event("HedgeWon", "the answer of a hedge was returned", "saved is an estimate of what the call would have waited", {
    attempt,
    saved: Schema.Number
  }),
  event("HedgeWasted", "a hedge ended without being returned", "many of them: the trigger is too early", { attempt }),
  event("DeadlinePassed", "the deadline of the call passed", "look at the attempts, or lengthen timeout.overall", {
    /** attempts that were started before it */
    attempts: Schema.Int
  }),
  event("Stopped", "the call makes no further attempt", "reason says why", { reason: StopReason }),
  event("CallEnded", "the call has its result", "the timeline of the call has all of it", {
    result: Schema.Literals(results),
    startedAt: Schema.Number,
    /** attempts that were started */
    attempts: Schema.Int,
    reason: Schema.optionalKey(StopReason)
  }),
  event("PolicySwapped", "other policies are in force", "compare what follows with what came before", {
    ...policy,
    previous: Schema.optionalKey(Schema.String)
  })
])

export type Event = typeof Event.Type
