/** The five regions: in which order they are shown, and in which colour of ``style.css``. */

export const REGIONS = ["NSW1", "QLD1", "SA1", "TAS1", "VIC1"];

/** The colour's name of a region; the same in both themes' palettes, told apart in the common kinds of colour blindness. */
export function regionColour(region) {
  return REGIONS.includes(region) ? `region-${region.toLowerCase()}` : "ink-2";
}
