/**
 * Metrics that no finished call can tell: what runs at this moment, what budgets hold, which policies are in force. They
 * are read from the provider when metrics are collected, so that calls pay nothing for them.
 *
 * @internal
 */
import type { Context, Fiber, Metric, Scope } from "effect"
import { Duration, Effect, Stream } from "effect"
import type { Binding } from "./Bindings.ts"
import type { MetricSeries, ReadName } from "./MetricSeries.ts"
import { overflow } from "./PolicyKey.ts"
import type { PolicyProvider, PolicyStatus } from "./PolicyProvider.ts"

/**
 * What a budget holds. Nobody waits for a state that takes time: it is asked for at each collection, unless an answer is
 * still on its way, and what came last is shown; 0 until something has come.
 */
class Balance {
  last: number
  private asked: Fiber.Fiber<{ readonly balance: number }> | undefined = undefined
  private readonly binding: Binding
  private readonly context: Context.Context<never>
  constructor(binding: Binding, context: Context.Context<never>, last: number) {
    this.binding = binding
    this.context = context
    this.last = last
  }

  read(): number {
    if (this.asked === undefined) this.ask()
    return this.last
  }

  private ask(): void {
    this.asked = Effect.runForkWith(this.context)(this.binding.budget.state)
    this.asked.addObserver((exit) => {
      this.asked = undefined
      if (exit._tag === "Success") this.last = exit.value.balance
    })
  }

  close(): void {
    this.asked?.interruptUnsafe()
  }
}

interface ShownBudget {
  /** its name in the policy */
  readonly of: string
  readonly balance: Balance
  readonly registration: Metric.Registration | undefined
}

/** The keys that share a label: one, or those beyond the bound. */
class Labelled {
  private readonly bindings = new Map<string, Binding>()
  private readonly registrations: Array<Metric.Registration> = []
  private readonly label: string
  private readonly series: MetricSeries
  private saves = false
  private budget: ShownBudget | undefined

  constructor(label: string, series: MetricSeries) {
    this.label = label
    this.series = series
    this.register("attemptsActive", ({ state }) => state.running)
    this.register("attemptsAbandoned", ({ state }) => state.abandoned)
  }

  private register(metric: ReadName, of: (binding: Binding) => number): void {
    this.registrations.push(this.series.register(metric, [this.label], () => {
      let sum = 0
      for (const binding of this.bindings.values()) sum += of(binding)
      return sum
    }))
  }

  set(binding: Binding, context: Context.Context<never>): void {
    this.bindings.set(binding.key, binding)
    if (binding.hedging !== undefined && !this.saves) {
      this.saves = true
      this.register(
        "hedgeSaved",
        // Of the state, which stays while a document has hedging switched off: a counter must not fall.
        ({ state: { hedging } }) => hedging === undefined ? 0 : Duration.toSeconds(hedging.statistics.saved)
      )
    }
    // The balances of several budgets have no sum that means anything.
    if (this.label !== overflow) this.setBudget(binding, context)
  }

  private setBudget(binding: Binding, context: Context.Context<never>): void {
    this.removeBudget()
    const { budget } = binding.plan
    const name = this.series.budgets.of(budget)
    const balance = new Balance(binding, context, this.budget?.of === budget ? this.budget.balance.last : 0)
    // What is unlimited has no number.
    const registration = balance.read() === Infinity
      ? undefined
      : this.series.register("budgetAvailable", [this.label, name], () => balance.read())
    this.budget = { of: budget, balance, registration }
  }

  private removeBudget(): void {
    this.budget?.balance.close()
    this.budget?.registration?.remove()
  }

  remove(): void {
    this.removeBudget()
    for (const registration of this.registrations) registration.remove()
  }
}

/** What documents say is theirs, but a label is no place for a text of any length. */
const maxRevision = 64

const followPolicies = (
  provider: PolicyProvider["Service"],
  series: MetricSeries
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    let registration: Metric.Registration | undefined
    const show = ({ revision, source }: PolicyStatus) =>
      Effect.sync(() => {
        registration?.remove()
        registration = series.register("policyInfo", [source, revision.slice(0, maxRevision)], () => 1)
      })
    yield* Effect.addFinalizer(() => Effect.sync(() => registration?.remove()))
    yield* Effect.forkScoped(Stream.runForEach(provider.changes, ({ status }) => show(status)), {
      startImmediately: true
    })
  })

const followKeys = (
  provider: PolicyProvider["Service"],
  series: MetricSeries
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const labelled = new Map<string, Labelled>()
    const stop = provider["~@rego/core/PolicyProvider"].watch((binding) => {
      const label = series.keys.of(binding.key)
      const known = labelled.get(label) ?? new Labelled(label, series)
      labelled.set(label, known)
      known.set(binding, context)
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        stop()
        for (const each of labelled.values()) each.remove()
      })
    )
  })

/** Until the scope closes. */
export const follow = (
  provider: PolicyProvider["Service"],
  series: MetricSeries
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.andThen(followKeys(provider, series), followPolicies(provider, series))
