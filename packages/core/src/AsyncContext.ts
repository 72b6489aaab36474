/**
 * The asynchronous context of the host (`AsyncLocalStorage`), for what is started in the turn of somebody else and must see
 * the store of its own.
 *
 * @internal
 */
export interface AsyncContext {
  readonly runInAsyncScope: <This, Arg>(f: (this: This, arg: Arg) => void, self: This, arg: Arg) => void
}

/** Core is compiled without the types of a host, and browsers have no such module. */
interface Host {
  readonly process?: {
    readonly getBuiltinModule?: (
      name: string
    ) => { readonly AsyncResource?: new(type: string) => AsyncContext } | undefined
  }
}

const AsyncResource = ((): (new(type: string) => AsyncContext) | undefined => {
  try {
    return (globalThis as Host).process?.getBuiltinModule?.("node:async_hooks")?.AsyncResource
  } catch {
    return undefined
  }
})()

/** The context of the code that runs now, `undefined` where the host has none. */
export const capture = (): AsyncContext | undefined =>
  AsyncResource === undefined ? undefined : new AsyncResource("@rego/core")
