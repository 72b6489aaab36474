/**
 * @since 0.1.0
 */
export * as Arbitraries from "./Arbitraries.ts"
export * as BudgetLaws from "./BudgetLaws.ts"
export * as ClassifierLaws from "./ClassifierLaws.ts"
export * as Distribution from "./Distribution.ts"
export * as Downstream from "./Downstream.ts"
export * as Fault from "./Fault.ts"
export * as HedgeLaws from "./HedgeLaws.ts"
export * as Law from "./Law.ts"
export * as ObserverLaws from "./ObserverLaws.ts"
export * as PolicySourceLaws from "./PolicySourceLaws.ts"
export * as Scenario from "./Scenario.ts"
export * as Scenarios from "./Scenarios.ts"
export * as SimulationChart from "./SimulationChart.ts"
export * as SimulationReport from "./SimulationReport.ts"
export * as Simulator from "./Simulator.ts"
export * as TimelineRows from "./TimelineRows.ts"
