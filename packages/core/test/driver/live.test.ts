/**
 * Many calls in flight on the live clock, whose shared timers ring in the same turns, with callers that are interrupted at
 * random instants, by others and by what they themselves start. Nothing here depends on how long anything takes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Backoff, Budget, Hedge, PolicyLayer, Rego } from "@rego/core"
import type { PolicyProvider } from "@rego/core"
import { Context, Effect, Fiber, Layer, Logger, ManagedRuntime, Metric, Scheduler } from "effect"
import { AsyncLocalStorage } from "node:async_hooks"
import { setTimeout } from "node:timers/promises"
import { SharedTimer } from "../../src/Timer.ts"
import { seed } from "../arbitraries.ts"
import { makeRandom } from "../random.ts"
import { Fibers, Permits } from "./probes.ts"

type Program = Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider>

const calls = 500
const longest = 80

class Traffic {
  readonly permits = new Permits()
  readonly fibers = new Fibers()
  readonly callers: Array<Fiber.Fiber<unknown, unknown>> = []
  readonly faults = new Set<string>()
  started = 0
  ended = 0
  private readonly store = new AsyncLocalStorage<number>()
  private readonly random: () => number
  constructor(random: () => number) {
    this.random = random
  }

  between(least: number, most: number): number {
    return least + Math.floor(this.random() * (most - least + 1))
  }

  private pick<A>(...options: ReadonlyArray<() => A>): A {
    return options[this.between(0, options.length - 1)]!()
  }

  readonly policy = () => ({
    budget: "probe",
    idempotent: true,
    retry: { maxAttempts: 3, backoff: this.pick(() => Backoff.none, () => Backoff.constant(1)) },
    hedge: { trigger: Hedge.after(this.between(1, 6)), maxHedges: this.between(1, 3), maxFailing: 1 },
    timeout: { perAttempt: this.between(1, 20), overall: this.between(10, longest) }
  })

  private answer(): Effect.Effect<unknown, string> {
    return this.pick<Effect.Effect<unknown, string>>(
      () => Effect.succeed("ok"),
      () => Effect.fail("no"),
      () => Effect.interrupt,
      () => Effect.die("defect")
    )
  }

  private interruptCaller(id: number): Effect.Effect<void> {
    return Effect.sync(() => this.callers[id]?.interruptUnsafe())
  }

  private step(id: number, depth: number): Program {
    const later = Effect.andThen(Effect.sleep(this.between(1, 15)), Effect.suspend(() => this.answer()))
    return this.pick<Program>(
      () => Effect.never,
      () => later,
      () => Effect.uninterruptible(later),
      () => this.answer(),
      () => Effect.onInterrupt(Effect.never, () => Effect.sleep(2)),
      () => Effect.onInterrupt(Effect.never, () => this.interruptCaller(id)),
      () => Effect.andThen(this.interruptCaller(id), Effect.suspend(() => this.answer())),
      () => depth < 2 ? this.call(id, depth + 1) : Effect.never
    )
  }

  /** Begins uninterruptible, because with few operations in a row it may be cut between any two of them. */
  private attempt(id: number, depth: number): Program {
    return Effect.uninterruptibleMask((restore) => {
      this.started++
      this.check(id, "an attempt")
      return Effect.onExit(restore(this.step(id, depth)), () => Effect.sync(() => void this.ended++))
    })
  }

  private call(id: number, depth: number): Program {
    return Rego.resilient(Effect.suspend(() => this.attempt(id, depth)), `svc${this.between(0, 9)}.Get`)
  }

  private check(id: number, where: string): void {
    if (this.store.getStore() !== id) this.faults.add(`${where} sees the store of another call`)
  }

  private caller(id: number): Program {
    const call = this.call(id, 0)
    const around = this.pick<Program>(
      () => call,
      () => Effect.uninterruptible(call),
      () => Effect.uninterruptibleMask((restore) => Effect.exit(restore(call))),
      () => Effect.race(call, Effect.sleep(this.between(1, 20))),
      () => Effect.andThen(Effect.exit(call), Effect.suspend(() => this.call(id, 0)))
    )
    return Effect.withFiber((fiber) => {
      const { interruptible } = fiber as unknown as { readonly interruptible: boolean }
      return Effect.map(Effect.exit(around), () => {
        this.check(id, "what follows a call")
        if ((fiber as unknown as { readonly interruptible: boolean }).interruptible !== interruptible) {
          this.faults.add("the caller is not as interruptible as it was")
        }
      })
    })
  }

  async run(context: Context.Context<PolicyProvider.PolicyProvider>): Promise<void> {
    const watched = Context.add(context, Metric.FiberRuntimeMetrics, this.fibers)
    for (let id = 0; id < calls; id++) {
      const ops = this.random() < 0.3 ? this.between(3, 7) : 2_048
      const run = Effect.runForkWith(Context.add(watched, Scheduler.MaxOpsBeforeYield, ops))
      this.store.run(id, () => this.callers.push(run(this.caller(id))))
      if (this.random() < 0.4) void setTimeout(this.between(0, 25)).then(() => this.callers[id]!.interruptUnsafe())
      if (id % 100 === 99) await setTimeout(1)
    }
  }
}

const until = async (what: string, holds: () => boolean): Promise<void> => {
  for (let waited = 0; !holds(); waited++) {
    assert.isBelow(waited, 2_000, what)
    await setTimeout(2)
  }
}

describe("Executor, with many calls on the live clock", () => {
  it("ends every call and every attempt, and leaves no fiber, permit or timer", async () => {
    const traffic = new Traffic(makeRandom(seed))
    const { callers, faults, fibers, permits } = traffic
    const policies = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`svc${i}.*`, traffic.policy()]))
    const probe = Budget.layer(
      "probe",
      Effect.succeed({ admit: permits.grant, tryAcquire: permits.grant, state: Effect.succeed({ balance: 1 }) })
    )
    const runtime = ManagedRuntime.make(
      Layer.provide(PolicyLayer.make({ policies }), Layer.merge(probe, Logger.layer([])))
    )
    await traffic.run(await runtime.context())
    await until("a call does not end", () => callers.every((caller) => caller.pollUnsafe() !== undefined))
    await until("a fiber is left", () => fibers.live === 0)
    // timers of other tests in this process may be longer
    await until("a timer is left", () => [...SharedTimer.lengths].every((length) => length > longest))
    assert.deepStrictEqual([...faults], [])
    assert.strictEqual(traffic.ended, traffic.started)
    assert.isAbove(traffic.started, calls / 2)
    assert.deepStrictEqual([permits.open, permits.settledTwice], [0, 0])
    await runtime.dispose()
  })
})
