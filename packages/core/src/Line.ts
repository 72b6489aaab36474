/**
 * First come, first served, where those who wait are their own places in the line: to join and to leave is a step or two
 * and allocates nothing.
 *
 * @internal
 */
export interface Place<A> {
  ahead: A | undefined
  behind: A | undefined
}

export class Line<A extends Place<A>> {
  first: A | undefined = undefined
  private last: A | undefined = undefined

  /** It must not stand in a line. */
  join(place: A): void {
    if (this.last === undefined) this.first = place
    else {
      this.last.behind = place
      place.ahead = this.last
    }
    this.last = place
  }

  /** It must stand in this line. */
  leave(place: A): void {
    const { ahead, behind } = place
    if (ahead === undefined) this.first = behind
    else ahead.behind = behind
    if (behind === undefined) this.last = ahead
    else behind.ahead = ahead
    place.ahead = undefined
    place.behind = undefined
  }
}
