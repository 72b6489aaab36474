/**
 * The reasons that are ours: why a call stopped, and why an extra attempt was refused. Closed lists, each name with what it
 * means and what to do about it: `docs/reasons.md` is made from them (`npm run reasons`).
 *
 * @internal
 */
import { Schema } from "effect"

/** For who meets the name in a timeline, a span or a metric. */
export interface Text {
  readonly means: string
  readonly todo: string
}

/** A schema of names; each is annotated with its text, so that JSON Schema and pages made from it have them too. */
const closed = <Name extends string>(texts: Readonly<Record<Name, Text>>): Schema.Codec<Name> =>
  Schema.Union(
    Object.entries<Text>(texts).map(([name, { means, todo }]) =>
      Schema.Literal(name as Name).annotate({ description: means, documentation: todo })
    )
  )

/** Of calls that stop, and of hedges that are refused. */
const abandoned: Text = {
  means: "too many attempts of the key that were given up still run",
  todo: "make the effect interruptible, or give it a timeout of its own"
}

const stopTexts = {
  non_retryable: {
    means: "the classifier says that another attempt would get the same answer",
    todo: "nothing, when the verdict is right; else change the classifier"
  },
  abort: {
    means: "the attempt was given up from inside, as by an interruption",
    todo: "look for who interrupts; the dependency is not to blame"
  },
  no_retries: {
    means: "a retryable failure, and the policy of the key has no retry section, or it is off",
    todo: "add a retry section if the call may be repeated"
  },
  attempts_exhausted: {
    means: "every attempt that the policy allows was made",
    todo: "look at the dependency; more attempts rarely help where these did not"
  },
  not_replayable: {
    means: "the effect cannot run twice, as a request whose body is a stream",
    todo: "send a body that can be sent again, or accept it"
  },
  not_idempotent: {
    means: "the work may have been done, and the call is not known to be idempotent",
    todo: "state idempotent: true if it may run twice"
  },
  switched_off: {
    means: "a kill switch or an override turned extra attempts off for the key",
    todo: "look at who switched it off, with PolicyProvider.status"
  },
  schedule_done: {
    means: "the schedule that is the policy's backoff has ended",
    todo: "nothing, when the schedule is meant to end there"
  },
  schedule_defect: {
    means: "the schedule that is the policy's backoff died",
    todo: "repair the schedule; the log has its cause, once for the key"
  },
  retry_after_too_long: {
    means: "the server asked for a wait longer than maxRetryAfter",
    todo: "let the caller come back later, or raise maxRetryAfter"
  },
  deadline_would_pass: {
    means: "the next attempt could not start before the deadline",
    todo: "lengthen timeout.overall, or shorten the backoff"
  },
  deadline_exceeded: {
    means: "the deadline passed while an attempt ran, or before the first could start",
    todo: "look at the attempts: one that hangs wants a timeout.perAttempt"
  },
  budget_denied: {
    means: "the budget refused another attempt; the denial before it says why",
    todo: "look at the failure rate first: the budget is there to stop retries in an outage"
  },
  abandoned,
  admission_denied: {
    means: "the budget refused the call before its first attempt",
    todo: "the dependency is overloaded; send less, or wait"
  },
  policy_missing: {
    means: "no policy matches the key, and the layer fails such calls",
    todo: "add an entry for the key, or choose another onMissing"
  },
  interrupted: {
    means: "the caller was interrupted",
    todo: "look for a timeout, a race or a shutdown around the call"
  }
} as const satisfies Record<string, Text>

export const StopReason = closed(stopTexts)

export type StopReason = keyof typeof stopTexts

const denialTexts = {
  none: {
    means: "the budget of the key is \"none\", or a state that grants nothing",
    todo: "name a budget that grants something"
  },
  ratio_exhausted: {
    means: "extra attempts have reached their share of what the dependency answers, and the reserve is empty",
    todo: "look at the failure rate; raise ratio only when the dependency can take it"
  },
  bucket_empty: {
    means: "the token bucket is empty",
    todo: "look at the rate of failures; refillPerSecond bounds what is repeated"
  },
  tokens_below_half: {
    means: "half of the tokens of the gRPC throttle are gone",
    todo: "wait: successes fill it again"
  },
  too_many_in_flight: {
    means: "as many extra attempts run or wait as the concurrency budget allows",
    todo: "look for slow attempts; shorten timeouts"
  },
  throttled: {
    means: "the adaptive throttle sheds load: the dependency answers too few requests",
    todo: "look at the dependency; the throttle lets more through as it recovers"
  },
  limit_exceeded: {
    means: "the shared limit of the fleet is reached",
    todo: "look at which instance uses it up"
  },
  store_error: {
    means: "the store of the shared budget did not answer in time, or failed",
    todo: "look at the store"
  },
  budget_defect: {
    means: "the budget threw or died",
    todo: "repair the budget; the log has its cause, once for the key"
  },
  unhealthy: {
    means: "no hedges while more than hedge.maxFailing of the key's attempts fail",
    todo: "look at the failures; hedges help against slowness only"
  },
  pushback: {
    means: "no hedges until the time that the server asked to wait for",
    todo: "nothing: the server asked for less load"
  },
  allowance: {
    means: "the hedges of the key have reached the allowance of maxExtraLoad",
    todo: "nothing in a latency incident; else raise maxExtraLoad"
  },
  switched_off: {
    means: "a kill switch or an override turned hedges off for the key",
    todo: "look at who switched it off, with PolicyProvider.status"
  },
  abandoned,
  other: {
    means: "a budget of your own refused; its words are in detail",
    todo: "ask who wrote the budget"
  }
} as const satisfies Record<string, Text>

export const DenialReason = closed(denialTexts)

export type DenialReason = keyof typeof denialTexts

/** The reason of a budget, in our words where it has them. */
export const denialOf = (reason: string): { readonly reason: DenialReason; readonly detail?: string } =>
  reason !== "other" && Object.hasOwn(denialTexts, reason)
    ? { reason: reason as DenialReason }
    // A budget may be foreign code without types.
    : { reason: "other", detail: String(reason) }

/** What the pages are made from. */
export const texts = { stop: stopTexts, denial: denialTexts } as const
