/** The entry of `@rego/testing` loads. */
import * as Testing from "@rego/testing"

if (typeof Testing !== "object") throw new Error("testing")
