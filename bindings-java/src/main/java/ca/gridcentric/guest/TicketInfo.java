package ca.gridcentric.guest;

import java.util.Locale;

/**
 * A ticket as the host knows it.
 *
 * @param id its name
 * @param status where it is in its life
 * @param cpus CPUs reserved
 * @param vms clones that {@link API#clone(API.Uuid)} will make, or has made: {@code cpus / mincpuspervm}
 * @param mincpuspervm CPUs of each clone
 */
public record TicketInfo(API.Uuid id, Status status, int cpus, int vms, int mincpuspervm) {
    /** The states of a ticket. */
    public enum Status {
        /** It waits in line for CPUs. */
        PENDING,
        /** It has its CPUs; {@link API#clone(API.Uuid)} may use it. */
        RESERVED,
        /** The clones are being made. */
        CLONING,
        /** At least one clone is alive. */
        ACTIVE,
        /** All clones have ended; the CPUs are free. */
        CLOSED;

        /**
         * The word that all languages use.
         *
         * @return for example {@code "reserved"}
         */
        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    // For the native code.
    static TicketInfo of(String id, int status, int cpus, int vms, int mincpuspervm) {
        return new TicketInfo(new API.Uuid(id), Status.values()[status], cpus, vms, mincpuspervm);
    }
}
