import { assert, describe, it } from "@effect/vitest"
import { after, isWalkthrough, mask, stepsOf } from "../walkthrough/page.ts"

const page = [
  "# Page",
  "```ts a.ts",
  "const a = 1",
  "```",
  "```bash",
  "node a.ts",
  "```",
  "```text",
  "1",
  "```",
  "```ts",
  "run()",
  "```",
  ""
].join("\n")

describe("walkthrough", () => {
  it("writes the fences that have a name, runs those of bash, expects those of text, and passes over others", () => {
    assert.deepStrictEqual(stepsOf(page), [
      { _tag: "Write", line: 2, code: "const a = 1\n", name: "a.ts" },
      { _tag: "Run", line: 5, code: "node a.ts\n" },
      { _tag: "Expect", line: 8, code: "1\n" }
    ])
  })

  it("is for pages that have a program to write", () => {
    assert.isTrue(isWalkthrough(page))
    assert.isFalse(isWalkthrough("```json a.json\n{}\n```\n```ts\nrun()\n```\n"))
  })

  it("does not compare what differs from run to run", () => {
    assert.strictEqual(mask("[12:00:01.123] INFO (#5): in force"), mask("[00:00:00.000] INFO (#12): in force"))
    assert.strictEqual(mask("  first   │█   │ 0ms + 2.5ms  Success"), mask("  first  │  ██│ 1.25s + 3ms  Success"))
    assert.notStrictEqual(mask("revision 1: ada"), mask("revision 2: ada"))
  })

  it("finds lines in their order, with others in between", () => {
    assert.strictEqual(after(["a", "x", "b", "c"], ["a", "b"]), 3)
    assert.strictEqual(after(["b", "a"], ["a", "b"]), undefined)
    assert.strictEqual(after(["a"], ["a", "a"]), undefined)
  })
})
