// "hello, I am N" in Java: three clones say it, the master collects it. Run it with: java -cp gridcentric.jar Hello.java
import ca.gridcentric.guest.API;

public class Hello {
    public static void main(String[] args) {
        API api = new API();
        API.Uuid ticket = api.requestTicket(3, 3, 1, 1000);
        int vmid = api.clone(ticket); // one program before this line, four after it
        if (vmid > 0) api.join("hello, I am " + vmid); // does not return

        var results = api.waitFor(ticket, 10_000);
        for (var result : results) System.out.println(result.reportText());
        System.out.println("hello, I am the master of " + results.size());
    }
}
