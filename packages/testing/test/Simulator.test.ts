import { assert, describe, it } from "@effect/vitest"
import { Budget, Hedge, PolicyLayer, Rego } from "@rego/core"
import * as BudgetShared from "@rego/core/BudgetShared"
import { Cause, Duration, Effect, Layer, Logger } from "effect"
import * as RateLimiter from "effect/persistence/RateLimiter"
import { Scenario, Scenarios, SimulationReport, Simulator } from "../src/index.ts"

const retrying = PolicyLayer.make({
  policies: {
    "*": { retry: { maxAttempts: 3 }, timeout: { perAttempt: "1 second", overall: "3 seconds" }, idempotent: true }
  }
})

const hedging = PolicyLayer.make({
  policies: { "*": { hedge: { trigger: Hedge.quantile(0.95) }, timeout: { overall: "1 second" }, idempotent: true } }
})

const world = (parts: Partial<Scenario.Input> = {}): Scenario.Scenario =>
  Scenario.make({
    name: "test",
    clients: { type: "open", rate: 100 },
    server: { service: { type: "constant", value: 10 } },
    duration: "60 seconds",
    ...parts
  })

const json = (report: SimulationReport.Report): string => JSON.stringify(SimulationReport.toJson(report))

describe("Simulator", () => {
  for (const [name, scenario] of Object.entries(Scenarios.shipped)) {
    it.effect(`${name}: the same seed gives the same report, another one does not`, () =>
      Effect.gen(function*() {
        // what goes wrong begins within the thousand requests
        const episodes = scenario.episodes.map((episode) => ({ ...episode, at: Duration.seconds(1) }))
        const short = { ...scenario, episodes, requests: 1_000, warmUp: 100 }
        const run = (seed: number) => Effect.map(Simulator.simulate(short, { policies: hedging, seeds: [seed] }), json)
        const once = yield* run(1)
        assert.strictEqual(yield* run(1), once)
        assert.notStrictEqual(yield* run(2), once)
      }))
  }

  it.effect("two policies meet the same arrivals and the same slowness", () =>
    Effect.gen(function*() {
      const scenario = world({ server: { service: { type: "lognormal", mean: 10, sd: 5 } }, requests: 2_000 })
      const [one] = (yield* Simulator.simulate(scenario, { policies: retrying, seeds: 1 })).runs
      const [two] = (yield* Simulator.simulate(scenario, { policies: PolicyLayer.defaults, seeds: 1 })).runs
      assert.deepStrictEqual(one!.metrics, two!.metrics)
    }))

  it.effect("the calls run in the executor: budget, backoff and timeouts are those of the policy", () =>
    Effect.gen(function*() {
      const down = world({ episodes: [{ type: "down", at: 0, for: "60 seconds" }] })
      const budgeted = yield* Simulator.simulate(down, { policies: retrying, seeds: 1 })
      const naive = yield* Simulator.simulate(down, {
        policies: PolicyLayer.make({
          policies: { "*": { retry: { maxAttempts: 3 }, budget: "unlimited", timeout: { overall: "10 seconds" } } }
        }),
        seeds: 1
      })
      assert.closeTo(naive.metrics.attemptsPerCall.median, 3, 0.01)
      assert.isBelow(budgeted.metrics.attemptsPerCall.median, 1.02)
      assert.strictEqual(budgeted.metrics.failed.median, 1)
      assert.deepStrictEqual(Object.keys(budgeted.runs[0]!.failures), ["refused"])
    }))

  it.effect("a hedge cuts the tail, and is counted with what it did", () =>
    Effect.gen(function*() {
      const scenario = { ...Scenarios.longTail, requests: 10_000 }
      const without = yield* Simulator.simulate(scenario, { policies: retrying, seeds: 1 })
      const { metrics } = yield* Simulator.simulate(scenario, { policies: hedging, seeds: 1 })
      assert.isBelow(metrics.p99.median, 0.7 * without.metrics.p99.median)
      assert.closeTo(metrics.hedgesPerCall.median, metrics.attemptsPerCall.median - 1, 1e-9)
      assert.isAbove(metrics.hedgesWon.median, 0.5)
    }))

  it.effect("requests of the warm-up are not counted, those that follow are", () =>
    Effect.gen(function*() {
      const { runs } = yield* Simulator.simulate(world({ requests: 500, warmUp: 200 }), {
        policies: retrying,
        seeds: 1
      })
      assert.strictEqual(runs[0]!.requests, 300)
      assert.strictEqual(Math.round(runs[0]!.counts.between("offered", 0, Infinity)), 500)
    }))

  it.effect("a request of many calls takes as long as the slowest of them", () =>
    Effect.gen(function*() {
      const scenario = world({
        fanOut: 100,
        server: { service: { type: "uniform", min: 0, max: 100 } },
        requests: 300
      })
      const { metrics, runs } = yield* Simulator.simulate(scenario, { policies: PolicyLayer.defaults, seeds: 1 })
      // the expectation of the greatest of n: n / (n + 1)
      assert.closeTo(metrics.mean.median, 100 * 100 / 101, 0.3)
      assert.strictEqual(runs[0]!.calls, 30_000)
    }))

  it.effect("each process has budgets of its own", () =>
    Effect.gen(function*() {
      const down = (processes: number) =>
        world({
          clients: { type: "open", rate: 50, processes },
          episodes: [{ type: "down", at: 0, for: "60 seconds" }],
          requests: 1_000
        })
      const one = yield* Simulator.simulate(down(1), { policies: retrying, seeds: 1 })
      const many = yield* Simulator.simulate(down(50), { policies: retrying, seeds: 1 })
      const extra = (report: SimulationReport.Report) => (report.metrics.attemptsPerCall.median - 1) * 1_000
      assert.isAtMost(extra(one), 10)
      assert.isAbove(extra(many), 200)
    }))

  it.effect("a process that is replaced starts anew", () =>
    Effect.gen(function*() {
      const down = (processLifetime?: string) =>
        world({
          clients: { type: "open", rate: 50, processLifetime: processLifetime as never },
          episodes: [{ type: "down", at: 0, for: "60 seconds" }],
          requests: 2_000
        })
      const lasting = yield* Simulator.simulate(down(), { policies: retrying, seeds: 1 })
      const brief = yield* Simulator.simulate(down("2 seconds"), { policies: retrying, seeds: 1 })
      assert.isAbove(brief.metrics.retriesPerCall.median, 5 * lasting.metrics.retriesPerCall.median)
    }))

  it.effect("processes share what is given as shared", () =>
    Effect.gen(function*() {
      const policies = PolicyLayer.make({
        policies: { "*": { retry: { maxAttempts: 3 }, timeout: { overall: "3 seconds" }, budget: "fleet" } }
      }).pipe(Layer.provide(Budget.layer("fleet", BudgetShared.make({ limit: 7, window: "10 minutes" }))))
      const down = world({
        clients: { type: "open", rate: 50, processes: 20 },
        episodes: [{ type: "down", at: 0, for: "60 seconds" }],
        requests: 1_000
      })
      const shared = RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
      const { metrics } = yield* Simulator.simulate(down, { policies, shared, seeds: 1 })
      assert.closeTo(metrics.retriesPerCall.median * 1_000, 7, 1e-6)
    }))

  it.effect("an operation is any use of the library: nested calls", () =>
    Effect.gen(function*() {
      const operation: Simulator.Operation = (send) =>
        send.pipe(Rego.resilient("inner.Call"), Rego.resilient("outer.Call"))
      const down = world({ episodes: [{ type: "down", at: 0, for: "60 seconds" }], requests: 200 })
      const policies = PolicyLayer.make({
        policies: { "*": { retry: { maxAttempts: 3 }, timeout: { overall: "10 seconds" }, budget: "unlimited" } }
      })
      const { metrics } = yield* Simulator.simulate(down, { policies, operation, seeds: 1 })
      assert.closeTo(metrics.attemptsPerCall.median, 3, 1e-9)
    }))

  it.effect("a closed client sends again when it has its answer, and not before", () =>
    Effect.gen(function*() {
      const scenario = world({
        clients: { type: "closed", concurrency: 3, thinkTime: { type: "constant", value: 10 } },
        duration: "20 seconds"
      })
      const { metrics } = yield* Simulator.simulate(scenario, { policies: retrying, seeds: 1 })
      assert.closeTo(metrics.goodput.median, 150, 1)
    }))

  it.effect("load: open clients send more for a while, and nothing at a factor of 0", () =>
    Effect.gen(function*() {
      const scenario = world({
        clients: { type: "open", rate: 100, arrivals: "even" },
        episodes: [
          { type: "load", factor: 3, at: "10 seconds", for: "10 seconds" },
          { type: "load", factor: 0, at: "30 seconds", for: "10 seconds" }
        ]
      })
      const [run] = (yield* Simulator.simulate(scenario, { policies: retrying, seeds: 1 })).runs
      const offered = (from: number) => Math.round(run!.counts.between("offered", from * 1_000, (from + 10) * 1_000))
      assert.deepStrictEqual([0, 10, 20, 30, 40].map((from) => Math.round(offered(from) / 10)), [100, 300, 100, 0, 100])
    }))

  describe("what has no answer when the run ends", () => {
    const unbounded = PolicyLayer.make({ policies: { "*": { retry: "off" } } })
    const metricsOf = (parts: Partial<Scenario.Input>, options: Partial<Simulator.Options<never, never>> = {}) =>
      Effect.map(
        Simulator.simulate(world(parts), { policies: unbounded, seeds: 1, ...options }),
        ({ metrics, runs }) => ({
          failed: metrics.failed.median,
          unanswered: metrics.unanswered.median,
          failures: runs[0]!.failures
        })
      )

    it.effect("has failed, where it was waited for 10 seconds: a dependency that hangs does not look well", () =>
      Effect.gen(function*() {
        const clients = { type: "open", rate: 100, arrivals: "even" } as const
        const frozen = { type: "freeze", at: "30 seconds", for: "30 seconds" } as const
        const { failed, failures, unanswered } = yield* metricsOf({ clients, episodes: [frozen] })
        // 3,000 of 6,000 are answered; 2,000 wait for more than 10 s, and of 1,000 it is not known yet
        assert.closeTo(unanswered, 0.5, 0.001)
        assert.closeTo(failed, 2_000 / 5_000, 0.001)
        assert.closeTo(failures["unanswered"]!, 2_000, 2)
      }))

    it.effect("is in no share but its own, where it has just been asked", () =>
      Effect.gen(function*() {
        const clients = { type: "open", rate: 100, arrivals: "even" } as const
        const { failed, failures, unanswered } = yield* metricsOf({ clients, duration: "9995 millis" })
        assert.deepStrictEqual([failed, failures], [0, {}])
        assert.closeTo(unanswered, 1 / 999, 1e-6)
      }))

    it.effect("has failed, however short the run was, where nothing is left that could answer", () =>
      Effect.gen(function*() {
        const { failed, unanswered } = yield* metricsOf(
          { requests: 100, clients: { type: "closed", concurrency: 5 }, duration: undefined },
          { operation: () => Effect.never }
        )
        assert.deepStrictEqual([failed, unanswered], [1, 1])
      }))

    it.effect("is not counted where it belongs to the warm-up", () =>
      Effect.gen(function*() {
        const frozen = { type: "freeze", at: 0, for: "60 seconds" } as const
        const { failed, failures, unanswered } = yield* metricsOf({ warmUp: 100_000, episodes: [frozen] })
        assert.deepStrictEqual([failed, unanswered, failures], [NaN, NaN, {}])
      }))
  })

  it.effect("recovery: is not known where the run ends less than 5 seconds after what went wrong", () =>
    Effect.gen(function*() {
      const down = { type: "down", at: "50 seconds", for: "6 seconds" } as const
      const recovery = (duration: string) =>
        Effect.map(
          Simulator.simulate(world({ episodes: [down], duration: duration as never }), {
            policies: retrying,
            seeds: 1
          }),
          ({ metrics }) => metrics.recovery.median
        )
      assert.isNaN(yield* recovery("60 seconds"))
      assert.isAtMost(yield* recovery("62 seconds"), 1)
    }))

  it.effect("recovery: seconds from the end of what went wrong; never when it does not come", () =>
    Effect.gen(function*() {
      const frozen = { type: "freeze", at: "10 seconds", for: "10 seconds" } as const
      const server: Scenario.ServerInput = { concurrency: 1, service: { type: "constant", value: 9 } }
      const recovery = (parts: Partial<Scenario.Input>) =>
        Effect.map(
          Simulator.simulate(world({ server, episodes: [frozen], ...parts }), { policies: retrying, seeds: 1 }),
          ({ metrics }) => metrics.recovery.median
        )
      assert.isBelow(yield* recovery({}), 3)
      // it works on what nobody waits for, and never comes to the end of it
      assert.strictEqual(yield* recovery({ server: { ...server, cancellation: "ignored" } }), Infinity)
      assert.isNaN(yield* recovery({ episodes: [] }))
    }))

  it("refuses a number of seeds that is none: a report on nothing would look like one", () => {
    for (const seeds of [0, -1, 1.5, NaN, Infinity, [], [1, NaN]]) {
      assert.throws(
        () => Simulator.simulate(world(), { policies: retrying, seeds }),
        /Simulator\.simulate: seeds must be/
      )
    }
  })

  it.effect("fails with what the policies fail with", () =>
    Effect.gen(function*() {
      const policies = PolicyLayer.make({ policies: { "*": { retry: { maxAttempts: 99 } } } })
      const error = yield* Effect.flip(Simulator.simulate(world(), { policies, seeds: 1 }))
      assert.match(error.message, /maxAttempts: must be an integer between 1 and 10, got 99/)
    }))

  for (const maxAttempts of [2, 99]) {
    it.effect(`gives back what the processes share, when its policies ${maxAttempts === 2 ? "are" : "cannot be"} built`, () =>
      Effect.gen(function*() {
        const open = { count: 0 }
        const shared = Layer.effectDiscard(Effect.acquireRelease(
          Effect.sync(() => open.count++),
          () => Effect.sync(() => open.count--)
        ))
        const policies = PolicyLayer.make({ policies: { "*": { retry: { maxAttempts } } } })
        yield* Effect.exit(Simulator.simulate(world({ requests: 5 }), { policies, shared, seeds: 2 }))
        assert.strictEqual(open.count, 0)
      }))
  }

  it.effect("says so when a layer waits for something outside of virtual time", () =>
    Effect.gen(function*() {
      const policies = Layer.unwrap(Effect.as(Effect.promise(() => Promise.resolve()), retrying))
      const exit = yield* Effect.exit(Simulator.simulate(world(), { policies, seeds: 1 }))
      assert.match(exit._tag === "Failure" ? Cause.pretty(exit.cause) : "success", /must be built at once/)
    }))

  it.effect("says nothing in the log, whatever boot warns of", () =>
    Effect.gen(function*() {
      const lines: Array<unknown> = []
      const policies = PolicyLayer.make({ policies: { "*": { retry: {}, budget: "unlimited" } } })
      yield* Simulator.simulate(world({ requests: 10 }), { policies, seeds: 2 }).pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => lines.push(message))]))
      )
      assert.deepStrictEqual(lines, [])
    }))
})
