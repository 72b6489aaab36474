import { assert, describe, it } from "@effect/vitest"
import { makeRandom } from "../../packages/core/test/random.ts"
import { read } from "../fuzz/corpus.ts"
import { fuzz, type Target } from "../fuzz/engine.ts"
import { targets } from "../fuzz/targets.ts"

const seed = Number(process.env["REGO_SEED"] ?? 20_260_401)

/** As many inputs, for a fixed seed the same ones. */
const run = (target: Target, corpus: ReadonlyArray<string>, runs: number) =>
  fuzz(target, corpus, { random: makeRandom(seed), isOver: (done) => done >= runs })

describe("fuzz", () => {
  for (const target of targets) {
    it(`${target.name}: what is kept, and a few hundred inputs that chance makes of it, break nothing`, async () => {
      const corpus = read(target)
      assert.isAbove(corpus.length, 0)
      assert.deepStrictEqual((await run(target, corpus, corpus.length + 300)).broken, [])
    })
  }

  describe("engine", () => {
    const target: Target = {
      name: "brackets",
      corpus: "",
      words: ["(", ")"],
      run: (input) => {
        if (input.includes("(()")) throw new Error(`it breaks`)
        return /[()]+/.exec(input)?.[0] ?? "none"
      }
    }

    it("finds an input that breaks a target, and keeps one for each way to break", async () => {
      const { broken, found } = await run(target, ["a"], 5_000)
      assert.strictEqual(broken.length, 1)
      assert.include(broken[0]?.input, "(()")
      assert.strictEqual(broken[0]?.error, "Error: it breaks")
      assert.isAbove(found.length, 2)
    })

    it("makes the same inputs of the same seed", async () => {
      assert.deepStrictEqual(await run(target, ["a"], 1_000), await run(target, ["a"], 1_000))
    })
  })
})
