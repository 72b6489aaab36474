/**
 * What tests on a real file system share: directories of their own, and disks that are full or may not be written to.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "rego-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const mount = (path: string, options: string): boolean =>
  spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]).status === 0

const unmount = (path: string) => spawnSync("umount", [path])

const canMount = (() => {
  const path = mkdtempSync(join(tmpdir(), "rego-mount-"))
  const mounted = mount(path, "size=64k")
  if (mounted) unmount(path)
  rmSync(path, { recursive: true, force: true })
  return mounted
})()

/** Whether disks of our own can be made here; says loudly when not. */
export const hasDisks = (test: string): boolean => {
  if (!canMount) {
    console.warn(
      `\n*** ${test}: PARTLY SKIPPED. tmpfs cannot be mounted here (it takes root), so nothing was tested on a disk that is` +
        "\n*** full or read-only.\n"
    )
  }
  return canMount
}

export interface Disk {
  readonly path: string
  readonly fill: () => void
  readonly free: () => void
  readonly setReadOnly: (isReadOnly: boolean) => void
}

/** A disk of 64 KiB. */
export const disk: Effect.Effect<Disk, never, Scope.Scope> = Effect.flatMap(directory, (path) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      mount(path, "size=64k")
      const filler = join(path, "filler")
      return {
        path,
        fill: () => {
          try {
            writeFileSync(filler, Buffer.alloc(128 * 1_024))
          } catch {
            // as much as there was room for
          }
        },
        free: () => rmSync(filler, { force: true }),
        setReadOnly: (isReadOnly: boolean) =>
          void spawnSync("mount", ["-o", `remount,${isReadOnly ? "ro" : "rw"}`, path])
      }
    }),
    () => Effect.sync(() => unmount(path))
  ))
