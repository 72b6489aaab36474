/** What the tests of the driver look through: fibers and sleeps that are left, permits, reports, uncaught exceptions. */
import type { Policy } from "@rego/core"
import { Budget, PolicyLayer } from "@rego/core"
import type { Context, Exit, Fiber } from "effect"
import { Clock, Effect, Layer, Logger, Metric } from "effect"

export const key = "svc.Get"

/** One policy for every key, never short of budget. The layer waits for nothing when it closes. */
export const policies = (policy: Policy.Input<never, never>, limits: PolicyLayer.Limits = {}) =>
  PolicyLayer.make({
    policies: { "*": { budget: "unlimited", ...policy } },
    limits: { shutdownTimeout: 0, ...limits }
  })

/** A budget that counts what it grants and how each permit is settled. */
export class Permits {
  granted = 0
  used = 0
  unused = 0
  settledTwice = 0

  readonly grant = (): Budget.Decision => {
    this.granted++
    let settled = false
    const settle = (use: "used" | "unused") => {
      if (settled) this.settledTwice++
      settled = true
      this[use]++
    }
    return { _tag: "Granted", permit: { settle } }
  }

  get open(): number {
    return this.granted - this.used - this.unused
  }

  get counts() {
    return { granted: this.granted, used: this.used, unused: this.unused, twice: this.settledTwice }
  }
}

/** Policies whose budget is given: every function of it that is not, grants. */
export const policiesWith = (
  policy: Policy.Input<never, never>,
  budget: Partial<Budget.Budget>,
  limits: PolicyLayer.Limits = {}
) =>
  PolicyLayer.make({
    policies: { "*": { ...policy, budget: "probe" } },
    limits: { shutdownTimeout: 0, ...limits }
  }).pipe(
    Layer.provide(
      Budget.layer(
        "probe",
        Effect.succeed({
          tryAcquire: () => ({ _tag: "Granted", permit: { settle: () => {} } }),
          state: Effect.succeed({ balance: 1 }),
          ...budget
        })
      )
    )
  )

/** Counts the fibers that were started inside `watch` and have not ended, whoever started them. */
export class Fibers implements Metric.FiberRuntimeMetricsService {
  live = 0
  readonly recordFiberStart = (_context: Context.Context<never>): void => {
    this.live++
  }
  readonly recordFiberEnd = (_context: Context.Context<never>, _exit: Exit.Exit<unknown, unknown>): void => {
    this.live--
  }
  readonly watch = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(self, Metric.FiberRuntimeMetrics, this)
}

/** Counts the sleeps that have begun and have not ended, on whatever clock is current. */
export class Sleeps {
  pending = 0
  readonly watch = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Clock.clockWith((clock) =>
      Effect.provideService(self, Clock.Clock, {
        ...clock,
        sleep: (duration) =>
          Effect.acquireUseRelease(
            Effect.sync(() => this.pending++),
            () => clock.sleep(duration),
            () => Effect.sync(() => this.pending--)
          )
      })
    )
}

/** Collects the messages that are logged inside `watch`. */
export class Logs {
  readonly lines: Array<string> = []
  readonly watch = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provide(self, Logger.layer([Logger.make(({ message }) => void this.lines.push(String(message)))]))

  matching(text: string): ReadonlyArray<string> {
    return this.lines.filter((line) => line.includes(text))
  }
}

/** Exceptions that nobody caught while the effect ran, or right after it. */
export const uncaught = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<ReadonlyArray<unknown>, never, R> =>
  Effect.suspend(() => {
    const seen: Array<unknown> = []
    const listener = (error: unknown) => void seen.push(error)
    process.on("uncaughtException", listener)
    process.on("unhandledRejection", listener)
    return Effect.exit(self).pipe(
      Effect.andThen(Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))),
      Effect.andThen(Effect.sync(() => seen)),
      Effect.ensuring(Effect.sync(() => {
        process.off("uncaughtException", listener)
        process.off("unhandledRejection", listener)
      }))
    )
  })

export const fork = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Fiber.Fiber<A, E>, never, R> =>
  Effect.forkChild(self, { startImmediately: true })

/** The exit as one word and its value or error, for assertions that do not care about annotations of the cause. */
export const describeExit = (exit: Exit.Exit<unknown, unknown> | undefined): string => {
  if (exit === undefined) return "running"
  if (exit._tag === "Success") return `success ${String(exit.value)}`
  return exit.cause.reasons.map((reason) => {
    switch (reason._tag) {
      case "Fail":
        return `failure ${nameOf(reason.error)}`
      case "Die":
        return `defect ${String(reason.defect)}`
      case "Interrupt":
        return "interrupted"
    }
  }).join(", ")
}

const nameOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "reason" in error
    ? (error.reason as { readonly _tag: string })._tag
    : String(error)

/** An attempt that ends `millis` after it was started, whatever happens. */
export const stubborn = (millis: number): Effect.Effect<string> =>
  Effect.uninterruptible(Effect.as(Effect.sleep(millis), "late"))

/** An attempt that takes `millis` to clean up after it was interrupted. */
export const slowToStop = (millis: number): Effect.Effect<never> =>
  Effect.onInterrupt(Effect.never, () => Effect.sleep(millis))

/** Fails the first `times` times it runs, then succeeds. Counts its runs. */
export class Flaky {
  runs = 0
  readonly effect: Effect.Effect<string, string>
  constructor(times: number, millis = 0) {
    this.effect = Effect.suspend(() => {
      const run = ++this.runs
      const exit = run <= times ? Effect.fail(`failure ${run}`) : Effect.succeed("ok")
      return millis === 0 ? exit : Effect.andThen(Effect.sleep(millis), exit)
    })
  }
}
