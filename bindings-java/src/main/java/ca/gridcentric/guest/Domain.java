package ca.gridcentric.guest;

/**
 * A living member of the family.
 *
 * @param vmid 0: the master
 * @param parent the vmid of the domain that cloned it; -1 for the master
 * @param ip its address, numeric
 * @param ticket the ticket that it was made from
 * @param state {@code "starting"}, {@code "running"} or {@code "ending"}
 */
public record Domain(int vmid, int parent, String ip, API.Uuid ticket, String state) {
    // For the native code.
    static Domain of(int vmid, int parent, String ip, String ticket, String state) {
        return new Domain(vmid, parent, ip, new API.Uuid(ticket), state);
    }
}
