/**
 * Metrics that no finished call can tell: what runs at this moment, what budgets hold, which policies are in force. They
 * are read from the provider when metrics are collected, so that calls pay nothing for them.
 *
 * @internal
 */
import type { Context, Metric, Scope } from "effect"
import { Duration, Effect, Stream } from "effect"
import type { Binding } from "./Bindings.ts"
import type { MetricSeries, ReadName } from "./MetricSeries.ts"
import { overflow } from "./PolicyKey.ts"
import type { PolicyProvider, PolicyStatus } from "./PolicyProvider.ts"

/** The balance of a budget now. Nothing waits for one whose state takes time: it shows what was last
 * known at once, and that is 0 where nothing ever was. */
class Balance {
  private last = 0
  private readonly binding: Binding
  private readonly context: Context.Context<never>
  constructor(binding: Binding, context: Context.Context<never>) {
    this.binding = binding
    this.context = context
  }

  read(): number {
    const fiber = Effect.runForkWith(this.context)(this.binding.budget.state)
    const exit = fiber.pollUnsafe()
    if (exit === undefined) fiber.interruptUnsafe()
    else if (exit._tag === "Success") this.last = exit.value.balance
    return this.last
  }
}

/** The keys that share a label: one, or those beyond the bound. */
class Labelled {
  private readonly bindings = new Map<string, Binding>()
  private readonly registrations: Array<Metric.Registration> = []
  private readonly label: string
  private readonly series: MetricSeries
  private saves = false
  private budget: { readonly name: string; readonly registration: Metric.Registration | undefined } | undefined

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
    if (this.label !== overflow) this.setBudget(binding, new Balance(binding, context))
  }

  private setBudget(binding: Binding, balance: Balance): void {
    this.budget?.registration?.remove()
    const name = this.series.budgets.of(binding.plan.budget)
    // What is unlimited has no number.
    const registration = balance.read() === Infinity
      ? undefined
      : this.series.register("budgetAvailable", [this.label, name], () => balance.read())
    this.budget = { name, registration }
  }

  remove(): void {
    this.budget?.registration?.remove()
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
