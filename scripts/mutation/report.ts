/** What was found, in a form that is small enough to be kept. */
import { existsSync, readFileSync } from "node:fs"
import type { Mutant } from "./instrument.ts"
import type { Status } from "./runner.ts"

export interface Survivor {
  readonly line: number
  /** `original => replacement`, on one line */
  readonly change: string
  /** no test of the list reaches it */
  readonly unreached?: true
}

export interface ModuleResult {
  readonly tests: ReadonlyArray<string>
  readonly mutants: number
  readonly killed: number
  /** mutants that made the tests fail by never ending: found as well */
  readonly timedOut: number
  readonly survivors: ReadonlyArray<Survivor>
}

export type Report = Readonly<Record<string, ModuleResult>>

/**
 * Why a survivor stays: by module (`*` for all), and by its change; `regex: …` stands for all changes that match. The own
 * words of a change come before those of a pattern.
 */
export type Judgements = Readonly<Record<string, Readonly<Record<string, string>>>>

export const readJson = <A>(file: string, otherwise: A): A =>
  existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : otherwise

const offsetOf = (lines: ReadonlyArray<string>, { column, line }: Mutant["location"]["start"]): number =>
  lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0) + column - 1

const oneLine = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > 120 ? `${line.slice(0, 117)}...` : line
}

const survivorOf = (source: string, fates: ReadonlyMap<string, Status>) => {
  const lines = source.split("\n")
  return ({ id, location, replacement }: Mutant): Survivor => {
    const original = source.slice(offsetOf(lines, location.start), offsetOf(lines, location.end))
    return {
      line: location.start.line,
      change: `${oneLine(original)} => ${oneLine(replacement)}`,
      ...fates.get(id) === "unreached" && { unreached: true }
    }
  }
}

export const resultOf = (
  source: string,
  tests: ReadonlyArray<string>,
  mutants: ReadonlyArray<Mutant>,
  fates: ReadonlyMap<string, Status>
): ModuleResult => {
  const of = (...statuses: ReadonlyArray<Status | undefined>) =>
    mutants.filter(({ id }) => statuses.includes(fates.get(id)))
  return {
    tests,
    mutants: mutants.length,
    killed: of("killed").length,
    timedOut: of("timed out").length,
    survivors: of("survived", "unreached").map(survivorOf(source, fates)).toSorted((a, b) => a.line - b.line)
  }
}

// -----------------------------------------------------------------------------
// as a page
// -----------------------------------------------------------------------------

const percent = (part: number, whole: number): string => whole === 0 ? "-" : `${(100 * part / whole).toFixed(1)} %`

const found = ({ killed, timedOut }: ModuleResult): number => killed + timedOut

const row = (name: string, result: ModuleResult, open: number): string =>
  `| ${name} | ${result.mutants} | ${result.killed} | ${result.timedOut} | ${result.survivors.length} | ` +
  `${percent(found(result), result.mutants)} | ${open} |`

const total = (report: Report): ModuleResult =>
  Object.values(report).reduce<ModuleResult>((sum, next) => ({
    tests: [],
    mutants: sum.mutants + next.mutants,
    killed: sum.killed + next.killed,
    timedOut: sum.timedOut + next.timedOut,
    survivors: [...sum.survivors, ...next.survivors]
  }), { tests: [], mutants: 0, killed: 0, timedOut: 0, survivors: [] })

const code = (text: string): string => `\`${text.replaceAll("|", "\\|").replaceAll("`", "'")}\``

const pattern = "regex: "

const ofPattern = (change: string, judgements: Judgements[string] = {}): string | undefined =>
  Object.entries(judgements).find(([key]) =>
    key.startsWith(pattern) && new RegExp(key.slice(pattern.length), "u").test(change)
  )?.[1]

const judgementOf = (name: string, { change }: Survivor, judgements: Judgements): string | undefined =>
  judgements[name]?.[change] ?? ofPattern(change, judgements[name]) ?? ofPattern(change, judgements["*"])

/** Survivors that a test should find, as far as anybody knows. */
const openIn = (name: string, { survivors }: ModuleResult, judgements: Judgements): number =>
  survivors.filter((survivor) => judgementOf(name, survivor, judgements)?.startsWith("gap") !== false).length

const survivorRow = (survivor: Survivor, judgement: string | undefined): string =>
  `| ${survivor.line} | ${code(survivor.change)} | ${
    judgement ?? (survivor.unreached ? "not judged; not reached" : "not judged")
  } |`

const section = (name: string, { survivors, tests }: ModuleResult, judgements: Judgements): string =>
  [
    `## ${name}`,
    "",
    `Tests: ${tests.join(", ")}.`,
    "",
    ...survivors.length === 0 ? ["No survivor."] : [
      "| line | change | judgement |",
      "| --- | --- | --- |",
      ...survivors.map((survivor) => survivorRow(survivor, judgementOf(name, survivor, judgements)))
    ],
    ""
  ].join("\n")

export const page = (report: Report, judgements: Judgements, unmeasured: ReadonlyArray<string>): string => {
  const names = Object.keys(report).toSorted()
  const open = names.map((name) => openIn(name, report[name]!, judgements))
  const missing = unmeasured.length === 0 ? "Every module was measured." : `Not measured: ${unmeasured.join(", ")}.`
  return [
    "# Mutation tests of core",
    "",
    "Written by `npm run mutation -- --module Name`, which runs it for one module. A mutant is a change of one expression or",
    "block; it is killed when a test fails, and a survivor is either no change that can be seen, or a gap. All kinds of",
    "mutants that Stryker knows are counted, texts included; none is left out. A mutant is run against those tests of the",
    "list under its module that reach it, and one that is reached while modules are imported against all of the list, after",
    "an import of its own. A test that fails is run once more without the mutant: only where it passes then is the mutant",
    "killed. Not asked are tests that take more than 250 ms (in the first file of a list: 2.5 s), tests that fail without a",
    "mutant, and of the other files all but the quickest, 1.2 s in all. A mutant for which a test never ends is counted as",
    "timed out, which is found as well. Line numbers are of the run.",
    "",
    missing,
    "",
    "Open are the survivors that are judged as a gap, or not at all; the others change nothing that can be seen.",
    "",
    "| module | mutants | killed | timed out | survived | found | open |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...names.map((name, index) => row(name, report[name]!, open[index]!)),
    row("all", total(report), open.reduce((sum, next) => sum + next, 0)),
    "",
    ...names.map((name) => section(name, report[name]!, judgements))
  ].join("\n")
}
