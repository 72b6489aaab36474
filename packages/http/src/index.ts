/**
 * @since 0.1.0
 */
export * as Idempotency from "./Idempotency.ts"
