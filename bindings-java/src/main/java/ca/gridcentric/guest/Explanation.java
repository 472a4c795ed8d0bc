package ca.gridcentric.guest;

/**
 * Whether this process can be cloned, and what its clones will lack.
 *
 * @param canClone whether {@link API#clone(API.Uuid)} would be possible now
 * @param report one line for each finding; empty if there is none
 */
public record Explanation(boolean canClone, String report) {
    // For the native code.
    static Explanation of(boolean canClone, byte[] report) {
        return new Explanation(canClone, Native.text(report));
    }
}
