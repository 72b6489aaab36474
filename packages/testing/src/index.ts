/**
 * @since 0.1.0
 */
export type { Timeline } from "@rego/core"
