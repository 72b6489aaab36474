import { cpSync, existsSync, mkdirSync } from "node:fs"
import { dirname, join } from "node:path"
import { run } from "./command.ts"
import { root } from "./workspace.ts"

/** Copies what git knows of the repository, and what it would know: neither builds nor dependencies. */
export const copyRepository = async (folder: string): Promise<void> => {
  const { output } = await run("git", ["ls-files", "--cached", "--others", "--exclude-standard"])
  for (const file of output.trim().split("\n").filter((file) => existsSync(join(root, file)))) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    cpSync(join(root, file), join(folder, file))
  }
}
