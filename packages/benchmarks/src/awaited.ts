/** An answer that many calls wait for. */
export interface Gate {
  readonly promise: Promise<number>
  readonly open: () => void
}

export const closedGate = (): Gate => {
  let open = (_: number): void => {}
  const promise = new Promise<number>((resolve) => {
    open = resolve
  })
  return { promise, open: () => open(1) }
}
