/**
 * @since 0.1.0
 */
export * as BudgetLaws from "./BudgetLaws.ts"
export * as Downstream from "./Downstream.ts"
export * as Law from "./Law.ts"
export * as TimelineRows from "./TimelineRows.ts"
