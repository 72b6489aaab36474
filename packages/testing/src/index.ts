/**
 * @since 0.1.0
 */
export * as Distribution from "./Distribution.ts"
export * as Scenario from "./Scenario.ts"
export * as SimulationReport from "./SimulationReport.ts"
export * as Simulator from "./Simulator.ts"
