/** GRIDCENTRIC_STRICT lets a JVM clone itself, because nothing of the JDK's repeats; explain() names nothing. */
public final class Strict {
    public static void main(String[] args) {
        Family.check(!Family.GUEST.explain().report().contains("random numbers"), Family.GUEST.explain().report());
        Family.clones(1, () -> "");
    }
}
