package ca.gridcentric.guest;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;

/** How a clone has ended. */
public final class Result {
    /** The ways in which a clone ends. */
    public enum End {
        /** It called {@link API#join(byte[])} or {@link API#joinNoReport()}. */
        JOINED,
        /** It ended by itself without joining. */
        EXITED,
        /** A signal or {@link API#kill(int)} ended it. */
        KILLED,
        /** It is gone, and the cause is unknown. */
        LOST;

        /**
         * The word that all languages use.
         *
         * @return for example {@code "joined"}
         */
        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    private final int vmid;
    private final End how;
    private final int status;
    private final byte[] report;

    private Result(int vmid, End how, int status, byte[] report) {
        this.vmid = vmid;
        this.how = how;
        this.status = status;
        this.report = report;
    }

    // For the native code.
    static Result of(int vmid, int how, int status, byte[] report) {
        return new Result(vmid, End.values()[how], status, report);
    }

    /**
     * Which clone it was.
     *
     * @return its vmid
     */
    public int vmid() {
        return vmid;
    }

    /**
     * How it ended.
     *
     * @return the kind of end
     */
    public End how() {
        return how;
    }

    /**
     * More about the end.
     *
     * @return the exit code if it exited, the signal's number if it was killed, otherwise 0
     */
    public int status() {
        return status;
    }

    /**
     * What it passed to {@link API#join(byte[])}.
     *
     * @return a copy of the report, or null if it ended without one
     */
    public byte[] report() {
        return report == null ? null : report.clone();
    }

    /**
     * The report as text.
     *
     * @return the report, decoded as UTF-8, or null if it ended without one
     */
    public String reportText() {
        return report == null ? null : new String(report, StandardCharsets.UTF_8);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Result that
                && vmid == that.vmid
                && how == that.how
                && status == that.status
                && Arrays.equals(report, that.report);
    }

    @Override
    public int hashCode() {
        return Objects.hash(vmid, how, status, Arrays.hashCode(report));
    }

    @Override
    public String toString() {
        String end = report == null ? "without a report" : "with a report of " + report.length + " bytes";
        return "clone " + vmid + " " + how + " (" + status + ") " + end;
    }
}
