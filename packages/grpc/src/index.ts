/**
 * @since 0.1.0
 */
export * as GrpcKey from "./GrpcKey.ts"
export * as GrpcStatus from "./GrpcStatus.ts"
