/**
 * @since 0.1.0
 */
export * as Arbitraries from "./Arbitraries.ts"
export * as BudgetLaws from "./BudgetLaws.ts"
export * as ClassifierLaws from "./ClassifierLaws.ts"
export * as Downstream from "./Downstream.ts"
export * as Fault from "./Fault.ts"
export * as HedgeLaws from "./HedgeLaws.ts"
export * as Law from "./Law.ts"
export * as ObserverLaws from "./ObserverLaws.ts"
export * as PolicySourceLaws from "./PolicySourceLaws.ts"
export * as TimelineRows from "./TimelineRows.ts"
