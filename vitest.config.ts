import { availableParallelism } from "node:os"
import { join } from "node:path"
import { defineConfig } from "vitest/config"

// not "module": what packages mean by it is for bundlers, and Node cannot run it
const conditions = ["@rego/source", "node", "development|production"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["packages/*/test/**/*.test.ts", "scripts/test/**/*.test.ts"],
    env: {
      // a property that fails must fail again: the seed changes only when someone asks for another
      REGO_SEED: process.env["REGO_SEED"] ?? "20260401",
      // programs that tests start take a quarter less work with what Node has compiled before
      NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/compiled")
    },
    watch: false,
    pool: "forks",
    // one more than there are cores: about a third of the time tests wait, for servers, disks and browsers that are real
    maxWorkers: availableParallelism() + 1,
    // measured with 40 files on 2 cores: 0.5 s, against 12.8 s when each file imports effect anew
    isolate: false,
    // properties compute for seconds where other work shares the cores; no test waits for this
    testTimeout: 20_000,
    hookTimeout: 5_000
  }
})
