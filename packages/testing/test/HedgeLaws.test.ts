import { describe } from "@effect/vitest"
import { Hedge } from "@rego/core"
import { HedgeLaws } from "@rego/testing"
import { Cause, Duration, Effect, Option, Schedule } from "effect"
import type { BrokenPart } from "./support.ts"
import { holds, notices, seed } from "./support.ts"

const suiteOf = (trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State>) => HedgeLaws.make(trigger, { seed })

type Step = (state: Hedge.State) => Effect.Effect<Duration.Duration, Cause.Done<unknown>>

/** A schedule from a function that is made anew for each call. */
const schedule = (make: () => Step): Schedule.Schedule<unknown, Hedge.State> =>
  Schedule.fromStep(Effect.sync(() => {
    const step = make()
    return (_now: number, state: Hedge.State) =>
      Effect.map(step(state), (delay): [Duration.Duration, Duration.Duration] => [delay, delay])
  }))

const median = schedule(() => ({ latency }) =>
  Option.match(latency.quantile(0.5), { onNone: () => Cause.done(undefined), onSome: (it) => Effect.succeed(it) })
)

const [own, always, range] = suiteOf(Hedge.after(1)).map(({ name }) => name)

const broken = (what: string, breaks: string, trigger: Schedule.Schedule<unknown, Hedge.State>): BrokenPart => ({
  what,
  breaks: [breaks],
  suite: suiteOf(trigger)
})

let asked = 0

describe("HedgeLaws", () => {
  holds("after", suiteOf(Hedge.after("50 millis")))
  holds("quantile", suiteOf(Hedge.quantile(0.95, { fallback: "100 millis" })))
  holds("maxExtraLoad", suiteOf(Hedge.maxExtraLoad(0.05)))
  holds("a schedule with jitter", suiteOf(Schedule.jittered(Schedule.spaced("50 millis"))))
  holds("a schedule that ends", suiteOf(Schedule.recurs(1)))
  holds("a schedule of one's own", suiteOf(median))

  notices(suiteOf(Hedge.after(1)), [
    broken("counts in the module", own!, schedule(() => () => Effect.succeed(Duration.millis(++asked)))),
    broken(
      "needs to know the latency",
      always!,
      schedule(() => ({ latency }) => Effect.sync(() => Option.getOrThrow(latency.quantile(0.5))))
    ),
    broken("waits in its step", always!, schedule(() => () => Effect.as(Effect.sleep("50 millis"), Duration.zero))),
    broken("never answers", always!, schedule(() => () => Effect.never)),
    broken("waits for an hour", range!, schedule(() => () => Effect.succeed(Duration.hours(1)))),
    broken("waits for ever", range!, schedule(() => () => Effect.succeed(Duration.infinity))),
    broken(
      "starts where it should have been started",
      range!,
      schedule(() => ({ elapsed }) => Effect.succeed(Duration.millis(20 - Duration.toMillis(elapsed))))
    )
  ])
})
