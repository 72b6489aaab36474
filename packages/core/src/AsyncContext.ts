/**
 * The asynchronous context of the host (`AsyncLocalStorage`): a timer that calls share fires in the context of whichever
 * call armed it, and what it starts must see the store of its own call.
 *
 * @internal
 */
export interface AsyncContext {
  readonly runInAsyncScope: <This, Arg>(f: (this: This, arg: Arg) => void, self: This, arg: Arg) => void
  /** for hooks that look for what was never released */
  readonly emitDestroy: () => void
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
  AsyncResource === undefined ? undefined : new AsyncResource("@rego/core/Call")
