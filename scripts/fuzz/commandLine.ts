/**
 * The command line in this process: its arguments, the file that they name, and the token of the environment.
 *
 * An input is a line of arguments, a line that is the end of the token, and the file. There is no disk: `policies.json` and
 * `scenario.json` are the file, `before.json` is a good document, and the history of `rego serve` is in memory. A control
 * plane that is watched answers with the file.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import {
  ByteSize,
  Cause,
  ConfigProvider,
  Console,
  Effect,
  Exit,
  Fiber,
  FileSystem,
  Layer,
  Logger,
  ManagedRuntime,
  Option,
  Path,
  PlatformError,
  Runtime,
  Stdio,
  Stream
} from "effect"
import { FetchHttpClient } from "effect/http"
import { run } from "../../packages/control-plane/src/CommandLine.ts"
import { must, type Target } from "./engine.ts"

interface Input {
  readonly args: ReadonlyArray<string>
  readonly token: string | undefined
  readonly file: string
}

const read = (input: string): Input => {
  const [line = "", token = "", ...file] = input.split("\n")
  return {
    args: line.split(" ").filter((arg) => arg !== ""),
    token: token === "" ? undefined : `secret~${token}`,
    file: file.join("\n")
  }
}

// -----------------------------------------------------------------------------
// the world of a command
// -----------------------------------------------------------------------------

const before = JSON.stringify({
  schemaVersion: "1.0",
  revision: "0",
  policies: { "users.*": { retry: { maxAttempts: 2 }, timeout: { overall: "1 second" }, idempotent: true } }
})

const notFound = (path: string) =>
  Effect.fail(
    PlatformError.systemError({ _tag: "NotFound", module: "FileSystem", method: "stat", pathOrDescriptor: path })
  )

const info = (type: "File" | "Directory", size = 0): FileSystem.File.Info => ({
  type,
  size: ByteSize.bytes(size),
  mtime: Option.none(),
  atime: Option.none(),
  birthtime: Option.none(),
  dev: 0n,
  ino: Option.none(),
  mode: 0,
  nlink: Option.none(),
  uid: Option.none(),
  gid: Option.none(),
  rdev: Option.none(),
  blksize: Option.none(),
  blocks: Option.none()
})

const filesOf = ({ file }: Input): FileSystem.FileSystem => {
  const files: Readonly<Record<string, Uint8Array>> = {
    "policies.json": Buffer.from(file, "latin1"),
    "scenario.json": Buffer.from(file, "latin1"),
    "before.json": Buffer.from(before)
  }
  const find = (path: string) => Object.hasOwn(files, path) ? files[path] : undefined
  return FileSystem.makeNoop({
    stat: (path) => {
      const bytes = find(path)
      if (path === ".") return Effect.succeed(info("Directory"))
      return bytes === undefined ? notFound(path) : Effect.succeed(info("File", bytes.length))
    },
    exists: (path) => Effect.succeed(find(path) !== undefined),
    stream: (path) => Stream.make(find(path) ?? new Uint8Array()),
    makeDirectory: () => Effect.void,
    writeFileString: () => Effect.void
  })
}

class Printed {
  out = ""
  error = ""
  readonly console = {
    ...globalThis.console,
    log: (...parts: ReadonlyArray<unknown>) => void (this.out += `${parts.join(" ")}\n`),
    error: (...parts: ReadonlyArray<unknown>) => void (this.error += `${parts.join(" ")}\n`)
  }
}

const services = ManagedRuntime.make(NodeServices.layer)

/** `rego serve` joins nothing but the name of its database. */
const inMemory = Layer.effect(Path.Path, Effect.map(Path.Path, (path) => ({ ...path, join: () => ":memory:" })))

const worldOf = (input: Input, printed: Printed) =>
  Layer.mergeAll(
    Layer.succeed(FileSystem.FileSystem, filesOf(input)),
    inMemory,
    Stdio.layerTest({ args: Effect.succeed(input.args) }),
    Layer.succeed(Console.Console, printed.console),
    Logger.layer([]),
    ConfigProvider.layer(
      ConfigProvider.fromUnknown(input.token === undefined ? {} : { REGO_WRITE_TOKEN: input.token })
    ),
    Layer.succeed(
      FetchHttpClient.Fetch,
      async () => new Response(input.file, { headers: { "content-type": "application/json" } })
    )
  )

// -----------------------------------------------------------------------------
// what must hold
// -----------------------------------------------------------------------------

/** For commands that go on until they are told to stop, and for long simulations. */
const patience = 50

const runIn = async (input: Input, printed: Printed): Promise<Exit.Exit<void, unknown> | undefined> => {
  const fiber = services.runFork(Effect.provide(run("0.0.0"), worldOf(input, printed)))
  const timer = setTimeout(() => fiber.interruptUnsafe(), patience)
  const exit = await Effect.runPromise(Fiber.await(fiber))
  clearTimeout(timer)
  return Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? undefined : exit
}

/** What `runMain` makes of it: the exit code, and no report of its own, which would have a stack trace. */
const codeOf = (exit: Exit.Exit<void, unknown>, { error, out }: Printed): number => {
  if (Exit.isSuccess(exit)) return 0
  const failure = Cause.squash(exit.cause)
  must(!Runtime.getErrorReported(failure), `a stack trace: ${String(failure)}`)
  must(out !== "" || error !== "", "it ends without a word")
  return Runtime.getErrorExitCode(failure)
}

const judge = (input: Input, exit: Exit.Exit<void, unknown> | undefined, printed: Printed): string => {
  const { error, out } = printed
  must(input.token === undefined || !(out + error).includes(input.token), "the token is printed")
  must(!/[^\n\P{Cc}]/u.test(out), "the terminal is told something")
  must(!/^ +at .*:\d+:\d+/m.test(out + error), "a stack trace is printed")
  if (exit === undefined) return "goes on"
  const code = codeOf(exit, printed)
  must(code === 0 || code === 1 || code === 2, `the exit code ${code}`)
  if (/^[[{]/.test(out)) JSON.parse(out)
  return `${code} ${rule(error)}`
}

/** What is wrong, without what it is wrong with. */
const rule = (error: string): string => {
  const message = error.split("\n").find((line) => line.startsWith("  "))?.trim() ?? ""
  return /^(?:--\w+|[A-Za-z ]{1,30})/.exec(message.replace(/^\S+: /, ""))?.[0] ?? ""
}

const first = ({ args }: Input): string =>
  args.find((arg) => /^(?:check|diff|explain|schema|serve|simulate|watch)$/.test(arg)) ?? "none"

export const commandLine: Target = {
  name: "command-line",
  corpus: "packages/control-plane/test/corpus/command-line",
  words: [
    ..." check , diff , explain , schema , serve , simulate , watch , policies.json , before.json , scenario.json , . "
      .split(","),
    " users.Get ",
    " --json ",
    " --strict ",
    " --idempotent ",
    " --no-idempotent ",
    " --rolled-out ",
    " --scenario scenario.json ",
    " --scenario steady ",
    " --against before.json ",
    " --seeds 1 ",
    " --limit p99<=60ms ",
    " --limit goodput>=0.99x ",
    " --charts charts ",
    " --port 0 ",
    " --keep 1 ",
    " --max-bytes 10 ",
    " --max-wait 1 ",
    " --interval 1 ",
    " --help ",
    " --version ",
    " --completions bash ",
    " --log-level debug ",
    " -- ",
    "=",
    "__proto__",
    "\n",
    "write-token-0123456789",
    "\"revision\"",
    "\"policies\"",
    "\"toString\"",
    "\"requests\"",
    "null",
    "{}"
  ],
  run: async (text) => {
    const input = read(text)
    const printed = new Printed()
    const exit = await runIn(input, printed)
    return `${first(input)} ${judge(input, exit, printed)}`
  }
}
