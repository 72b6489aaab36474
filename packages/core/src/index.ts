/**
 * @since 0.1.0
 */
export * as Attempt from "./Attempt.ts"
export * as Backoff from "./Backoff.ts"
export * as Budget from "./Budget.ts"
export * as Classifier from "./Classifier.ts"
export * as Deadline from "./Deadline.ts"
export * as Hedge from "./Hedge.ts"
export * as Latency from "./Latency.ts"
export * as Outcome from "./Outcome.ts"
export * as Policy from "./Policy.ts"
export * as PolicyDocument from "./PolicyDocument.ts"
export * as PolicyKey from "./PolicyKey.ts"
export * as PolicyLayer from "./PolicyLayer.ts"
export * as PolicyProvider from "./PolicyProvider.ts"
export * as Rego from "./Rego.ts"
export * as RegoError from "./RegoError.ts"
export * as Timeline from "./Timeline.ts"
