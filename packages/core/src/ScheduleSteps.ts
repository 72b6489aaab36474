/**
 * A user's schedule, built at the first step and stepped once for each question. A step may take time, end or die.
 *
 * @internal
 */
import { Duration, Effect, Pull, Schedule } from "effect"

type Step<I> = (now: number, input: I) => Pull.Pull<[unknown, Duration.Duration], never, unknown>

export class ScheduleSteps<I> {
  private step: Step<I> | undefined = undefined
  private readonly schedule: Schedule.Schedule<unknown, I>
  constructor(schedule: Schedule.Schedule<unknown, I>) {
    this.schedule = schedule
  }

  /** A schedule with its steps, anything else as it is. */
  static from<A, I>(value: A | Schedule.Schedule<unknown, I>): A | ScheduleSteps<I> {
    return Schedule.isSchedule(value) ? new ScheduleSteps<I>(value as Schedule.Schedule<unknown, I>) : value as A
  }

  /** Milliseconds until the next start, `undefined` when the schedule has ended. */
  next(now: number, input: I): Effect.Effect<number | undefined> {
    const built = this.step === undefined ? Schedule.toStep(this.schedule) : Effect.succeed(this.step)
    return Effect.flatMap(built, (step) => {
      this.step = step
      return Pull.matchEffect(step(now, input), {
        // Outside of types a step may answer a bare NaN, which `Duration` would take for zero.
        onSuccess: ([, duration]) =>
          Effect.succeed<number | undefined>(Number.isNaN(duration) ? NaN : Duration.toMillis(duration)),
        onDone: () => Effect.succeed(undefined),
        onFailure: Effect.failCause
      })
    })
  }
}
