import { deepStrictEqual } from "node:assert"

/** Without an assertion signature: an example must not see its own variables narrowed by an expectation. */
export const doctestEqual = (actual: unknown, expected: unknown): void => deepStrictEqual(actual, expected)
