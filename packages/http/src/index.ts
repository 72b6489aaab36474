/**
 * @since 0.1.0
 */
export * as DebugRoutes from "./DebugRoutes.ts"

/**
 * @since 0.1.0
 */
export * as HttpClassifier from "./HttpClassifier.ts"

/**
 * @since 0.1.0
 */
export * as HttpKey from "./HttpKey.ts"

/**
 * @since 0.1.0
 */
export * as HttpRego from "./HttpRego.ts"

/**
 * @since 0.1.0
 */
export * as Idempotency from "./Idempotency.ts"

/**
 * @since 0.1.0
 */
export * as ResilientFetch from "./ResilientFetch.ts"

/**
 * @since 0.1.0
 */
export * as ServerHints from "./ServerHints.ts"
