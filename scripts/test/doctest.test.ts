import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import { doctest } from "../doctest/doctest.ts"
import { fencesOfDocument, fencesOfSource } from "../doctest/fences.ts"
import { rewrite } from "../doctest/rewrite.ts"
import { root } from "../lib/workspace.ts"

const fenced = (...lines: ReadonlyArray<string>): string => ["```ts", ...lines, "```", ""].join("\n")

const folder = join(root, ".doctest-self-test")

describe("fences", () => {
  it("are found in documents, with their line", () => {
    const document = `# Title\n\n${fenced("a", "b")}\n\`\`\`json\n{}\n\`\`\`\n`
    assert.deepStrictEqual(fencesOfDocument("README.md", document), [
      { file: "README.md", line: 3, code: "a\nb", closed: true }
    ])
  })

  it("lose the indentation of the list they stand in", () => {
    assert.strictEqual(fencesOfDocument("x.md", "- item\n\n  ```ts\n  f(\n    1)\n  ```\n")[0]?.code, "f(\n  1)")
  })

  it("have a name when the reader is told to write a file", () => {
    const [named, plain] = fencesOfDocument("x.md", "```ts live.ts\na\n```\n```ts\nb\n```\n")
    assert.deepStrictEqual([named?.name, plain?.name], ["live.ts", undefined])
  })

  it("inside a fence of another language are text", () => {
    assert.deepStrictEqual(fencesOfDocument("x.md", "````md\n```ts\na\n```\n````\n"), [])
  })

  it("follow one another without a line between", () => {
    assert.deepStrictEqual(fencesOfDocument("x.md", fenced("a") + fenced("b")).map(({ line }) => line), [1, 4])
  })

  it("are found in doc comments, with their line", () => {
    const source =
      "const a = 1\n\n  /**\n   * Text.\n   *\n   * ```ts\n   * f(\n   *   1)\n   * ```\n   */\nconst b = 2\n"
    assert.deepStrictEqual(fencesOfSource("src/A.ts", source), [
      { file: "src/A.ts", line: 6, code: "f(\n  1)", closed: true }
    ])
  })
})

describe("rewrite", () => {
  const accepted: ReadonlyArray<readonly [given: string, expected: string]> = [
    ["a // => 1", "doctestEqual(a, 1)"],
    ["  yield* a; // => [1, \")\"]", "  doctestEqual(yield* a, [1, \")\"])"],
    ["f(\n  \"// =\" // one\n) // => 1", "doctestEqual(f(\n  \"// =\" // one\n), 1)"],
    ["a\n  .b(/[)'\"]/) // => 1", "doctestEqual(a\n  .b(/[)'\"]/), 1)"],
    ["const a = 1\na // => 1", "const a = 1\ndoctestEqual(a, 1)"],
    ["`${a} (` // => 1", "doctestEqual(`${a} (`, 1)"],
    ["a // 1", "a // 1"]
  ]
  it.each(accepted)("%j becomes %j", (given, expected) => {
    assert.deepStrictEqual(rewrite(given), { code: expected, problems: [] })
  })

  const refused = [
    "const a = 1 // => 1",
    "a\n// => 1",
    "const a =\n  f() // => 1",
    "f(\n  a // => 1\n)",
    "a // =>",
    "const s = `\n a // => 1\n`"
  ]
  it.each(refused)("%j is refused, not ignored", (code) => {
    assert.strictEqual(rewrite(code).problems.length, 1)
  })
})

describe("doctest", { timeout: 60_000 }, () => {
  const failing: ReadonlyArray<readonly [title: string, code: ReadonlyArray<string>, expected: RegExp]> = [
    ["a wrong value", ["const a = 1", "a // => 2"], /^AssertionError[^]*1 !== 2[^]*at docs\/page\.md:3$/],
    [
      "a wrong value in a generator",
      [
        "import { Effect } from \"effect\"",
        "await Effect.runPromise(Effect.gen(function*() {",
        "  yield* Effect.succeed(1) // => 2",
        "}))"
      ],
      /^AssertionError[^]*1 !== 2[^]*at docs\/page\.md:4/
    ],
    ["a type error", ["", "const a: string = 1"], /^docs\/page\.md:3 {2}error TS2322/],
    ["a thrown error", ["", "throw new Error(\"boom\")"], /^Error: boom\n\s+at docs\/page\.md:3$/],
    ["an unhandled rejection", ["void Promise.reject(new Error(\"boom\"))"], /^Error: boom\n\s+at docs\/page\.md:2$/],
    [
      "a late error",
      ["setTimeout(() => {", "  throw new Error(\"boom\")", "}, 1)"],
      /^Error: boom[^]*docs\/page\.md:3\)$/
    ],
    ["an endless await", ["await new Promise(() => {})"], /^a top-level await never settles$/],
    ["an exit", ["process.exit(0)"], /^the example ended the process with code 0$/],
    ["an exit code", ["process.exitCode = 3"], /^the exit code was set to 3$/],
    ["an expectation that is none", ["const a = 1 // => 1"], /^docs\/page\.md:2 {2}`\/\/ =>` follows/]
  ]

  it("fails a fence, and only that fence, with its file and line; keeps what it prints; finds one that is never closed", async () => {
    const good = fenced("const a = { b: [1] }", "a // => { b: [1] }")
    const pages = failing.map(([, code], index) => fencesOfDocument(`docs/${index}/page.md`, fenced(...code) + good))
    const printing = fencesOfDocument("docs/print.md", fenced("console.log(\"printed\")", "throw new Error(\"boom\")"))
    const open = fencesOfDocument("docs/open.md", "```ts\n1\n")
    // one run for all: each starts the compiler
    const { results } = await doctest([...pages.flat(), ...printing, ...open], { folder })
    const [printed, unclosed] = results.slice(-2)
    assert.strictEqual(printed?.output, "printed\n")
    assert.deepStrictEqual(unclosed?.errors, ["docs/open.md:1  the fence is never closed"])
    failing.forEach(([title, , expected], index) => {
      const [bad, sound] = results.slice(2 * index)
      assert.strictEqual(bad?.place, `docs/${index}/page.md:1`, title)
      assert.match((bad?.errors[0] ?? "").replaceAll(`docs/${index}/`, "docs/"), expected, title)
      assert.deepStrictEqual(sound?.errors, [], title)
    })
  })

  it("bounds the time of a fence, and runs the others", async () => {
    const page = fenced("for (;;) {}") + fenced("1 // => 1") + fenced("2 // => 2")
    const { results } = await doctest(fencesOfDocument("docs/page.md", page), { folder, boundMillis: 2_000 })
    assert.deepStrictEqual(results.map((result) => result.passed), [false, true, true])
    assert.deepStrictEqual(results[0]?.errors, ["still running after 2 s"])
  })
})
