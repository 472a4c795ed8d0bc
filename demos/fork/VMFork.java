// Clones itself once, with the API of 2010. Compile and run it with the jar alone:
//     javac -cp gridcentric.jar VMFork.java && java -cp gridcentric.jar:. VMFork
import ca.gridcentric.guest.API;

public class VMFork {
    public static void main(String[] args) {
        API api = new API();
        API.Uuid ticket = api.requestTicket(1, 1, 1, 1000);
        int vmid = api.clone(ticket);
        System.out.println(vmid);
    }
}
