/**
 * The budgets of a layer by name: the built-in ones, those of the document in force, those that were provided. Each key has
 * a state of its own unless the budget is shared, and keeps it when the policies change.
 *
 * A budget of a document that changes its numbers is the same budget: what it holds is carried over. One that changes its
 * type or its scope starts with nothing, so that a document that changes to and fro fills nothing up.
 *
 * @internal
 */
import type { Context, Scope } from "effect"
import * as Budget from "./Budget.ts"
import * as BudgetData from "./BudgetData.ts"

type Data = BudgetData.BudgetData

/** Budgets that a document no longer defines are kept for the entries that still use them, and for when they come back. */
const maxRetired = 100

const builtIn: ReadonlyMap<string, Budget.Make> = new Map([
  ["default", Budget.ratio()],
  ["unlimited", Budget.unlimited],
  ["none", Budget.none]
])

/** One budget of documents: its numbers, and its states. */
class Documented {
  retired = false
  data: Data
  private readonly states = new Map<string, BudgetData.State>()
  private readonly empty: boolean
  constructor(data: Data, empty: boolean) {
    this.data = data
    this.empty = empty
  }

  isLike(data: Data): boolean {
    return data.type === this.data.type && (data.scope ?? "key") === (this.data.scope ?? "key")
  }

  retune(data: Data, now: number): void {
    this.data = data
    this.retired = false
    for (const state of this.states.values()) BudgetData.retune(state, data, now)
  }

  forKey(key: string): BudgetData.State {
    const owner = this.data.scope === "shared" ? "" : key
    const known = this.states.get(owner)
    if (known !== undefined) return known
    const state = this.empty ? BudgetData.toEmptyState(this.data) : BudgetData.toState(this.data)
    this.states.set(owner, state)
    return state
  }
}

export class BudgetStates {
  private readonly documented = new Map<string, Documented>()
  /** of those that no document defines, made once: a recipe may take something from the scope of the layer */
  private readonly samples = new Map<string, Budget.Budget>()
  private readonly registries: Context.Context<never>
  private readonly scope: Context.Context<Scope.Scope>
  constructor(registries: Context.Context<never>, scope: Context.Context<Scope.Scope>) {
    this.registries = registries
    this.scope = scope
  }

  /** A policy may name it. */
  has(name: string): boolean {
    return this.documented.get(name)?.retired === false || this.hasWithoutDocument(name)
  }

  /** The same, whatever document is in force. */
  hasWithoutDocument(name: string): boolean {
    return builtIn.has(name) || this.isProvided(name)
  }

  private isProvided(name: string): boolean {
    return Budget.findNamed(this.registries, name) !== undefined
  }

  /** The budgets of a document, in force from now on (milliseconds on the monotonic line). */
  apply(budgets: Readonly<Record<string, Data>>, now: number): void {
    for (const budget of this.documented.values()) budget.retired = true
    for (const [name, data] of Object.entries(budgets)) {
      const known = this.documented.get(name)
      if (known?.isLike(data) === true) known.retune(data, now)
      else this.documented.set(name, new Documented(data, known !== undefined))
    }
    this.forget()
  }

  private forget(): void {
    const retired = Array.from(this.documented).filter(([, budget]) => budget.retired)
    for (const [name] of retired.slice(0, Math.max(0, retired.length - maxRetired))) this.documented.delete(name)
  }

  /** The state for a key. `own` holds those of the key that no document defines. */
  find(name: string, key: string, own: Map<string, Budget.Budget>): Budget.Budget | undefined {
    const documented = this.documentedAs(name)
    if (documented !== undefined) return documented.forKey(key)
    const known = own.get(name)
    if (known !== undefined) return known
    const budget = this.build(name)
    if (budget !== undefined) own.set(name, budget)
    return budget
  }

  private build(name: string): Budget.Budget | undefined {
    const make = builtIn.get(name)
    return make === undefined ? Budget.findNamed(this.registries, name)?.forKey() : Budget.build(make, this.scope)
  }

  /** What is provided takes the place of what documents no longer define. */
  private documentedAs(name: string): Documented | undefined {
    const documented = this.documented.get(name)
    return documented?.retired === true && this.isProvided(name) ? undefined : documented
  }

  /** A budget to look at, which nobody asks: the one that `find` would give. */
  sample(name: string): Budget.Budget | undefined {
    const documented = this.documentedAs(name)
    return documented === undefined ? this.sampleProvided(name) : BudgetData.toState(documented.data)
  }

  /** The one that a document would give that is not in force yet; `data` where it defines the budget itself. */
  sampleUnder(name: string, data: Data | undefined): Budget.Budget | undefined {
    if (data !== undefined) return BudgetData.toState(data)
    return this.hasWithoutDocument(name) ? this.sampleProvided(name) : this.sample(name)
  }

  private sampleProvided(name: string): Budget.Budget | undefined {
    const known = this.samples.get(name) ?? this.build(name)
    if (known !== undefined) this.samples.set(name, known)
    return known
  }
}
