import ca.gridcentric.guest.API;
import ca.gridcentric.guest.InterruptedByCloneException;
import ca.gridcentric.guest.Result;
import ca.gridcentric.guest.TicketInfo;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;

/** An order from outside clones a JVM with its handlers and its random numbers, whoever listens for it: API, if an argument says so. */
public final class FromOutside {
    private static final API GUEST = Family.GUEST;

    private FromOutside() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) GUEST.serve();
        UUID.randomUUID(); // a generator that has begun
        AtomicInteger heard = new AtomicInteger();
        GUEST.onClone(heard::set);
        System.out.println(ProcessHandle.current().pid());
        Optional<TicketInfo> cloned = Optional.empty();
        while (GUEST.vmid() == 0 && cloned.isEmpty()) {
            Thread.sleep(5);
            try {
                cloned = GUEST.listTickets().stream().filter(FromOutside::isOver).findAny();
            } catch (InterruptedByCloneException inClone) {
                Family.check(GUEST.vmid() > 0, "only clones hear of that");
            }
        }
        if (GUEST.vmid() > 0) {
            while (heard.get() == 0) Thread.onSpinWait(); // handlers run beside the threads of the program
            GUEST.join((heard.get() == GUEST.vmid()) + " " + UUID.randomUUID());
        }
        List<Result> results = GUEST.waitFor(cloned.get().id(), -1);
        Family.checkEqual(results.size(), 2, "clones");
        Family.checkEqual(heard.get(), 0, "a handler was called in the master with");
        Set<String> drawn = new HashSet<>(Set.of(UUID.randomUUID().toString()));
        for (Result result : results) {
            String[] said = result.reportText().split(" ");
            Family.checkEqual(said[0], "true", "clone " + result.vmid() + ": its handler ran");
            Family.check(drawn.add(said[1]), "clone " + result.vmid() + " drew what another has drawn");
        }
    }

    private static boolean isOver(TicketInfo ticket) {
        return ticket.vms() == 2 && Set.of(TicketInfo.Status.ACTIVE, TicketInfo.Status.CLOSED).contains(ticket.status());
    }
}
